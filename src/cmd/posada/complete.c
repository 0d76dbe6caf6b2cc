/*
 * Candidates for completion, from tables of options. See complete.h.
 */
#include "cmd/posada/complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "client/registry.h"
#include "cmd/posada/cmd.h"
#include "cmd/posada/options.h"

#define COMPLETE_FILES ":files"

void complete_offer(const char *word, const char *candidate, const char *what)
{
	if (strncmp(candidate, word, strlen(word)) != 0)
		return;
	if (what)
		printf("%s\t%.*s\n", candidate, (int)strcspn(what, "\n"), what);
	else
		printf("%s\n", candidate);
}

static void complete_guests(const char *word)
{
	struct err err = ERR_INIT;
	char **names;
	size_t n;

	if (registry_list(&names, &n, &err) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		complete_offer(word, names[i], "a guest");
	registry_free_names(names, n);
}

static bool complete_is_file(const char *value)
{
	return !strncmp(value, "FILE", 4) || !strncmp(value, "PATH", 4) ||
	       !strncmp(value, "DIR", 3);
}

/* One alternative of a value: a word, or what stands in front of a "=" or a "[" in it. */
static void complete_alternative(const char *word, const char *alternative)
{
	char text[64];
	size_t n = strcspn(alternative, "[,|"), eq = strcspn(alternative, "=");

	if (eq < n)
		n = eq + 1;
	if (n >= sizeof(text) || alternative[0] < 'a' || alternative[0] > 'z')
		return;
	snprintf(text, sizeof(text), "%.*s", (int)n, alternative);
	complete_offer(word, text, NULL);
}

/* "auto|kvm|soft", "user|tap=IFNAME|none", "FILE". */
static void complete_value(const char *word, const char *value)
{
	if (!value)
		return;
	if (complete_is_file(value))
		printf("%s\n", COMPLETE_FILES);
	for (;;) {
		size_t n = strcspn(value, "|");

		complete_alternative(word, value);
		if (!value[n])
			return;
		value += n + 1;
	}
}

/* What a word of a usage stands for: a guest, a file, one of some words. */
static void complete_usage_word(const char *word, const char *usage)
{
	if (!strncmp(usage, "NAME", 4))
		complete_guests(word);
	else if (complete_is_file(usage) || usage[0] < 'A' || usage[0] > 'Z')
		complete_value(word, usage);
}

/* The n-th word of a usage that isn't an option: "NAME [SIZE] [OPTIONS]", "[NAME] FILE": what may be
 * left out may also be what stands behind it. */
static void complete_argument(const struct option_table *t, const char *word, unsigned n)
{
	const char *p = t->usage;

	if (n >= t->max_args)
		return;
	for (; *p && *p != '-'; p += strspn(p, " ")) {
		bool is_optional = *p == '[';

		if (!n)
			complete_usage_word(word, p + is_optional);
		if (!n && !is_optional)
			return;
		n -= n > 0;
		p += strcspn(p, " ");
	}
}

static void complete_names(const struct option_table *t, const char *word)
{
	char name[80];

	for (size_t i = 0; i < t->n_rows; i++) {
		snprintf(name, sizeof(name), "--%s", t->rows[i].name);
		complete_offer(word, name, t->rows[i].help);
	}
	complete_offer(word, "--help", "show this help");
}

/* The option that this word is, if it takes its value from the next one. */
static const struct option_row *complete_awaits(const struct option_table *t, const char *word)
{
	const struct option_row *row;

	if (strncmp(word, "--", 2) != 0)
		return NULL;
	row = options_find(t, word + 2);
	return row && row->value ? row : NULL;
}

void complete_options(const struct option_table *t, char **words)
{
	const struct option_row *awaits = NULL;
	unsigned n_args = 0;

	if (!words[0])
		return;
	for (; words[1]; words++) {
		if (awaits)
			awaits = NULL;
		else if (words[0][0] == '-')
			awaits = complete_awaits(t, words[0]);
		else
			n_args++;
	}
	if (awaits) {
		complete_value(words[0], awaits->value);
		return;
	}
	if (words[0][0] != '-')
		complete_argument(t, words[0], n_args);
	if (words[0][0] == '-' || !words[0][0])
		complete_names(t, words[0]);
}

/* --- posada completion --- */

static const char complete_bash[] =
	"# bash completion for posada: made by `posada completion bash`\n"
	"_posada() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} word rest words=() i\n"
	"\t# \"--option=value\" is three words to bash.\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\t[ \"${COMP_WORDS[i]}\" = = ] || words+=(\"${COMP_WORDS[i]}\")\n"
	"\tdone\n"
	"\t[ \"$cur\" != = ] || cur=\n"
	"\tCOMPREPLY=()\n"
	"\twhile IFS=$'\\t' read -r word rest; do\n"
	"\t\tcase $word in\n"
	"\t\t:files)\n"
	"\t\t\tcompopt -o filenames 2>/dev/null\n"
	"\t\t\twhile IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen -f -- "
	"\"$cur\")\n"
	"\t\t\t;;\n"
	"\t\t*)\n"
	"\t\t\t[ \"${word%=}\" = \"$word\" ] || compopt -o nospace 2>/dev/null\n"
	"\t\t\tCOMPREPLY+=(\"$word\")\n"
	"\t\t\t;;\n"
	"\t\tesac\n"
	"\tdone < <(\"${COMP_WORDS[0]}\" --complete \"${words[@]}\" \"$cur\" 2>/dev/null)\n"
	"}\n"
	"complete -F _posada posada\n";

static const char complete_zsh[] =
	"#compdef posada\n"
	"# zsh completion for posada: made by `posada completion zsh`\n"
	"_posada() {\n"
	"\tlocal word rest files\n"
	"\tlocal -a candidates open\n"
	"\twhile IFS=$'\\t' read -r word rest; do\n"
	"\t\tcase $word in\n"
	"\t\t:files) files=yes ;;\n"
	"\t\t*=) open+=(\"$word\") ;;\n"
	"\t\t*) candidates+=(\"${word//:/\\\\:}${rest:+:$rest}\") ;;\n"
	"\t\tesac\n"
	"\tdone < <(\"${words[1]}\" --complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
	"\t(( $#open )) && compadd -S '' -a open\n"
	"\t(( $#candidates )) && _describe posada candidates\n"
	"\t[[ -n $files ]] && _files\n"
	"}\n"
	"if [[ $funcstack[1] = _posada ]]; then _posada; else compdef _posada posada; fi\n";

static const char complete_fish[] =
	"# fish completion for posada: made by `posada completion fish`\n"
	"function __posada_complete\n"
	"\tset -l words (commandline -opc)\n"
	"\tset -l current (commandline -ct)\n"
	"\tfor line in ($words[1] --complete $words[2..-1] \"$current\" 2>/dev/null)\n"
	"\t\tif test \"$line\" = :files\n"
	"\t\t\t__fish_complete_path \"$current\"\n"
	"\t\telse\n"
	"\t\t\techo $line\n"
	"\t\tend\n"
	"\tend\n"
	"end\n"
	"complete -c posada -f -a '(__posada_complete)'\n";

int cmd_completion(int argc, char **argv)
{
	static const struct option_table table = {
		.command = "completion",
		.usage = "bash|zsh|fish",
		.summary = "Prints a script that teaches a shell to complete posada's commands, "
			   "options "
			   "and\nguests: `. <(posada completion bash)`.",
		.min_args = 1,
		.max_args = 1,
		.missing = "for which shell? bash, zsh or fish",
	};
	static const struct {
		const char *name, *script;
	} shells[] = {{"bash", complete_bash}, {"zsh", complete_zsh}, {"fish", complete_fish}};
	const char *shell;
	int status = options_parse(&table, argc, argv, NULL, &shell);

	if (status != OPTIONS_RUN)
		return status;
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		if (!strcmp(shells[i].name, shell)) {
			fputs(shells[i].script, stdout);
			return 0;
		}
	}
	fprintf(stderr, "posada: there is no script for '%s'; there is: bash, zsh, fish\n", shell);
	return 1;
}
