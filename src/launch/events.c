/*
 * What the launcher does when a device of its guest comes to an end.
 */
#include <jansson.h>
#include <string.h>

#include "base/fd.h"
#include "block/block.h"
#include "launch/launch_priv.h"

/* The guest process has closed it; here it would stay locked. */
static void launch_forget_disk(struct launch *l, const char *name)
{
	for (unsigned i = 0; i < l->config.n_disks; i++) {
		struct guest_disk *d = &l->config.disks[i];

		if (strcmp(d->name, name) || d->fd < 0)
			continue;
		blk_unlock_fd(d->fd);
		fd_close(d->fd);
		fd_close(d->overlay_fd);
		d->fd = d->overlay_fd = -1;
	}
}

bool launch_on_event(struct launch *l, const char *text, size_t size)
{
	json_t *event = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	const char *what = json_string_value(json_object_get(event, "event"));
	const char *device = json_string_value(json_object_get(event, "device"));
	bool is_known = what && device && !strcmp(what, "device-removed");

	if (is_known)
		launch_forget_disk(l, device);
	json_decref(event);
	return is_known;
}
