"""workloads.py - all of them, in their order."""
# pylint: disable=unused-import
import files
import rows
import live
import growth
from measure import WORKLOADS
