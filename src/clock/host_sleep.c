/*
 * The host's sleep. See host_sleep.h.
 *
 * The kernel has no file that tells of a suspend. A timer on CLOCK_REALTIME that is far away, and is canceled
 * when that clock is set (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET), does: waking up sets it.
 */
#include "clock/host_sleep.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/time.h"
#include "clock/vclock.h"

#define HOST_SLEEP_FAR_S (365L * 24 * 3600)

static int host_sleep_arm(const struct host_sleep *s)
{
	const struct itimerspec far = {.it_value.tv_sec = (time_t)(time_real_ns() / NSEC_PER_SEC) +
							  HOST_SLEEP_FAR_S};

	return timerfd_settime(s->timer.fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far,
			       NULL);
}

void host_sleep_look(struct host_sleep *s)
{
	u64 slept = s->slept();

	if (slept > s->slept_ns)
		vclock_set_wall_ns(s->clock, vclock_wall_ns(s->clock) + slept - s->slept_ns);
	s->slept_ns = slept;
}

static void host_sleep_on_timer(struct loop_fd *w, unused u32 events)
{
	struct host_sleep *s = container_of(w, struct host_sleep, timer);
	u64 expired;
	ssize_t n = read(w->fd, &expired, sizeof(expired)); /* ECANCELED, or a year has passed */

	(void)n;
	host_sleep_arm(s);
	host_sleep_look(s);
}

int host_sleep_init(struct host_sleep *s, struct loop *loop, struct vclock *clock, struct err *err)
{
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int r = fd < 0 ? -errno : 0;

	*s = (struct host_sleep){
		.clock = clock,
		.timer = {.fd = fd, .events = EPOLLIN, .fn = host_sleep_on_timer},
		.slept_ns = time_slept_ns(),
		.slept = time_slept_ns,
	};
	if (!r && host_sleep_arm(s) < 0)
		r = -errno;
	if (!r)
		r = loop_fd_add(loop, &s->timer);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return err_errno(err, r, "cannot watch the host's clock");
	}
	s->loop = loop;
	return 0;
}

void host_sleep_fini(struct host_sleep *s)
{
	if (!s->loop)
		return;
	loop_fd_remove(s->loop, &s->timer);
	close(s->timer.fd);
	s->loop = NULL;
}
