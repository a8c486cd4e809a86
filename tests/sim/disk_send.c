/* disk_send.c - what a preloaded program tells others by a stream socket.  Sending may block: it is counted under the lock, and done without it. */
#undef _FORTIFY_SOURCE
#include "tests/sim/disk_step.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

bool sr_disk_sends(int fd)
{
	int saved = errno, kind = 0;
	socklen_t n = sizeof kind;
	bool is = sr_disks && sr_disks->hooks && !sr_disk_inside && !getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &n) && kind == SOCK_STREAM;

	errno = saved;
	return is;
}

struct sending {
	struct sr_disk_step s;
	size_t n; /* bytes to send */
};

/* Dies here if it is to die before. */
static void count_it(struct sending *x, const char *call, size_t n)
{
	sr_disk_begin_send(&x->s);
	sr_disk_go(&x->s, call, "", false, 0);
	x->n = x->s.half ? n / 2 : n;
	sr_disk_unlock(&x->s);
}

static ssize_t sent(struct sending *x, long rc)
{
	if (x->s.half || x->s.stop)
		x->s.d->hooks->die();
	return rc;
}

ssize_t sr_disk_send(int fd, const void *data, size_t n, int flags)
{
	struct sending x;

	count_it(&x, "send", n);
	if (flags < 0)
		return sent(&x, sr_disk_real(SYS_write, fd, (long)data, (long)x.n, 0, 0, 0));
	return sent(&x, sr_disk_real(SYS_sendto, fd, (long)data, (long)x.n, flags, 0, 0));
}

ssize_t sr_disk_sendv(int fd, const struct iovec *v, int count, const struct msghdr *head, int flags)
{
	struct sending x;
	size_t n = 0;

	for (int i = 0; i < count; i++)
		n += v[i].iov_len;
	count_it(&x, "send", n);
	if (x.s.half && count > 0) /* of the first piece */
		return sent(&x, sr_disk_real(SYS_write, fd, (long)v[0].iov_base, (long)(v[0].iov_len / 2), 0, 0, 0));
	return sent(&x, head ? sr_disk_real(SYS_sendmsg, fd, (long)head, flags, 0, 0, 0) : sr_disk_real(SYS_writev, fd, (long)v, count, 0, 0, 0));
}

ssize_t send(int fd, const void *data, size_t n, int flags)
{
	return sr_disk_sends(fd) ? sr_disk_send(fd, data, n, flags) : sr_disk_real(SYS_sendto, fd, (long)data, (long)n, flags, 0, 0);
}

ssize_t sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *to, socklen_t len)
{
	return !to && sr_disk_sends(fd) ? sr_disk_send(fd, data, n, flags) : sr_disk_real(SYS_sendto, fd, (long)data, (long)n, flags, (long)to, (long)len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return sr_disk_sends(fd) ? sr_disk_sendv(fd, m->msg_iov, (int)m->msg_iovlen, m, flags) : sr_disk_real(SYS_sendmsg, fd, (long)m, flags, 0, 0, 0);
}

ssize_t sendfile(int out, int in, off_t *off, size_t n)
{
	struct sending x;

	if (!sr_disk_sends(out))
		return sr_disk_real(SYS_sendfile, out, in, (long)off, (long)n, 0, 0);
	count_it(&x, "sendfile", n);
	return sent(&x, sr_disk_real(SYS_sendfile, out, in, (long)off, (long)x.n, 0, 0));
}
ssize_t sendfile64(int out, int in, off_t *off, size_t n) __attribute__((alias("sendfile")));
