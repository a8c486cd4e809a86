/* replay.c - main() of a fuzz target without a fuzzer: runs it over every file named and every file in the directories named.
 * Exits 1 when there was none: a replay that did no work fails. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, size_t size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	size_t got;

	if (!f) {
		perror(path);
		return -1;
	}
	data = malloc(size ? size : 1); /* no larger, so that a sanitizer sees the end */
	if (!data)
		abort();
	got = fread(data, 1, size, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, got);
	free(data);
	return 1;
}

/* How many inputs were run; -1 when something could not be read. */
static int replay(const char *path)
{
	struct stat st;
	struct dirent *entry;
	int total = 0;
	DIR *dir;

	if (stat(path, &st) != 0) {
		perror(path);
		return -1;
	}
	if (S_ISREG(st.st_mode))
		return replay_file(path, (size_t)st.st_size);
	dir = opendir(path);
	if (!dir) {
		perror(path);
		return -1;
	}
	while (total >= 0 && (entry = readdir(dir))) {
		char *below;
		int n;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
			abort();
		n = replay(below);
		total = n < 0 ? -1 : total + n;
		free(below);
	}
	closedir(dir);
	return total;
}

int main(int argc, char **argv)
{
	int total = 0;

	for (int i = 1; i < argc; i++) {
		int n = replay(argv[i]);

		if (n <= 0) {
			fprintf(stderr, "%s: nothing to replay in %s\n", argv[0], argv[i]);
			return 1;
		}
		total += n;
	}
	printf("%s: %d inputs\n", argv[0], total);
	return total ? 0 : 1;
}
