/* walk.c - the least that a full scan of a tree can take: its directories read and every entry looked at, by some threads, and nothing else.
 *
 *   bench_walk THREADS DIRECTORY       prints how many files there are */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct directory {
	struct directory *next;
	char path[];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct directory *first; /* to be looked at */
	unsigned busy;           /* threads that may find others yet */
	unsigned long files;
} walk = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, 0};

static void add(const char *above, const char *name)
{
	size_t size = strlen(above) + strlen(name) + 2;
	struct directory *d = malloc(sizeof *d + size);

	if (!d)
		abort();
	snprintf(d->path, size, "%s%s%s", above, *above ? "/" : "", name);
	pthread_mutex_lock(&walk.lock);
	d->next = walk.first;
	walk.first = d;
	pthread_cond_signal(&walk.more);
	pthread_mutex_unlock(&walk.lock);
}

static unsigned long look(const struct directory *d)
{
	DIR *dir = opendir(d->path);
	unsigned long files = 0;
	struct dirent *e;
	struct statx sx;

	if (!dir) {
		perror(d->path);
		exit(66);
	}
	while ((e = readdir(dir))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (statx(dirfd(dir), e->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) != 0)
			continue;
		if (S_ISDIR(sx.stx_mode))
			add(d->path, e->d_name);
		else
			files++;
	}
	closedir(dir);
	return files;
}

static void *work(void *unused)
{
	struct directory *d;

	pthread_mutex_lock(&walk.lock);
	for (;;) {
		while (!walk.first && walk.busy)
			pthread_cond_wait(&walk.more, &walk.lock);
		d = walk.first;
		if (!d)
			break;
		walk.first = d->next;
		walk.busy++;
		pthread_mutex_unlock(&walk.lock);
		unsigned long files = look(d);

		free(d);
		pthread_mutex_lock(&walk.lock);
		walk.files += files;
		walk.busy--;
	}
	pthread_cond_broadcast(&walk.more);
	pthread_mutex_unlock(&walk.lock);
	return unused;
}

int main(int argc, char **argv)
{
	int n = argc == 3 ? atoi(argv[1]) : 0;
	pthread_t threads[64];

	if (n < 1 || n > 64) {
		fprintf(stderr, "usage: bench_walk THREADS DIRECTORY\n");
		return 64;
	}
	add("", argv[2]);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			abort();
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%lu\n", walk.files);
	return 0;
}
