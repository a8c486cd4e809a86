/* hello.c - the least that libmicrohttpd can serve: `hello` to whoever asks, with as many threads as Sameroot's own server has.
 *
 *   bench_hello THREADS        says where it listens, and ends with its standard input */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
				  const char *upload, size_t *upload_len, void **request)
{
	static char begun;

	(void)url, (void)method, (void)version, (void)upload, (void)upload_len;
	if (!*request) { /* who is answered at the first call is hung up on */
		*request = &begun;
		return MHD_YES;
	}
	return MHD_queue_response(connection, MHD_HTTP_OK, ctx);
}

int main(int argc, char **argv)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct MHD_Response *hello = MHD_create_response_from_buffer(5, (void *)(uintptr_t)"hello", MHD_RESPMEM_PERSISTENT);
	struct MHD_Daemon *daemon;
	char ignored;

	if (argc != 2 || atoi(argv[1]) < 1) {
		fprintf(stderr, "usage: bench_hello THREADS\n");
		return 64;
	}
	daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, hello, MHD_OPTION_SOCK_ADDR, &loopback,
				  atoi(argv[1]) > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (unsigned)atoi(argv[1]), MHD_OPTION_END);
	if (!daemon) {
		perror("bench_hello");
		return 69;
	}
	printf("listening on http://127.0.0.1:%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
	fflush(stdout);
	while (read(0, &ignored, 1) > 0)
		;
	MHD_stop_daemon(daemon);
	MHD_destroy_response(hello);
	return 0;
}
