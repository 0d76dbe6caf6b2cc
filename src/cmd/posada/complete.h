/*
 * What shells offer when a person presses the tab key.
 *
 * The shells' scripts (`posada completion SHELL`) know nothing of commands and options: they ask
 *
 *     posada --complete WORD...
 *
 * with the words behind "posada", of which the last is the one to be completed (perhaps empty). The
 * answer has a line for each candidate, and behind a tab what it is; the line ":files" stands for
 * the names of files. All of it comes from the tables of commands and options: an option's `value`
 * and a command's usage say what may stand there ("auto|kvm|soft", FILE, NAME of a guest).
 */
#ifndef CMD_POSADA_COMPLETE_H
#define CMD_POSADA_COMPLETE_H

struct option_table;

#define COMPLETE_WORD "--complete"

/* A candidate, if it begins as the word does that is being completed. */
void complete_offer(const char *word, const char *candidate, const char *what);
/* words: those behind the command's name, NULL behind the last. */
void complete_options(const struct option_table *t, char **words);

#endif
