/*
 * posada's subcommands: each gets the arguments from its own name on and returns an exit status.
 */
#ifndef CMD_POSADA_CMD_H
#define CMD_POSADA_CMD_H

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_save(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_image(int argc, char **argv);

/* control.c */
int cmd_ps(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_reset(int argc, char **argv);

int cmd_stats(int argc, char **argv);
int cmd_console(int argc, char **argv);

/* stop.c */
int cmd_stop(int argc, char **argv);
int cmd_events(int argc, char **argv);

/* balloon.c */
int cmd_balloon(int argc, char **argv);

/* vsock.c */
int cmd_vsock(int argc, char **argv);
/* device.c */
int cmd_device_add(int argc, char **argv);
int cmd_device_remove(int argc, char **argv);
int cmd_device_list(int argc, char **argv);
int cmd_job(int argc, char **argv);
int cmd_resize_disk(int argc, char **argv);

#endif
