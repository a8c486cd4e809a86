/* page_files.S - see page_files.h.  The Makefile knows that this depends on the files. */
	.section .rodata
	.macro file name, path
	.balign 16
	.globl sr_page_\name
	.type sr_page_\name, %object
sr_page_\name:
	.incbin "\path"
	.size sr_page_\name, . - sr_page_\name
	.globl sr_page_\name\()_end
sr_page_\name\()_end:
	.byte 0
	.endm

	file html, "lib/node/page/index.html"
	file css, "lib/node/page/page.css"
	file js, "lib/node/page/page.js"
	file svg, "lib/node/page/page.svg"

	.section .note.GNU-stack, "", %progbits
