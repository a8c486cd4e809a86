# review.bash - for review.bats and review-points.bats.  After lib.bash.

# A row that stands in the way: A renames Bert to Bob, B adds another Bob; what A has must go back to the datastore's version of its key.
in_the_way() {
	fill A
	start_datastore
	rounds A B A
	value B "INSERT INTO users VALUES(20, 'Bob', 'b@example.org', 0)"
	rounds B
	value A "UPDATE users SET name = 'Bob' WHERE uid = 2"
}
