/*
 * Ceph's RBD images as disks, by librbd. For posada-rbd only: librbd has threads, sockets and files of its own,
 * which have no place in a confined process.
 *
 * Nothing is locked; an image that has Ceph's exclusive lock is locked as librbd does it.
 */
#ifndef REMOTE_RBD_H
#define REMOTE_RBD_H

struct blk;
struct err;
struct loop;
struct remote_options;

/* Waits until the cluster has answered. */
int rbd_disk_new(struct loop *loop, const struct remote_options *o, struct blk **out,
		 struct err *err);

#endif
