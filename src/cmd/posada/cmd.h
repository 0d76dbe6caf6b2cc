/*
 * posada's subcommands: each gets the arguments from its own name on and returns an exit status.
 */
#ifndef CMD_POSADA_CMD_H
#define CMD_POSADA_CMD_H

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
