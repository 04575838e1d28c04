/* What a person sees while something runs: data on stdout, progress on stderr; drawn again only on a terminal, else
 * one line each 10 s.
 * Whether there is a terminal, how wide it is and NO_COLOR are found out once, in main. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct screen {
	bool live;                  /* stderr is a terminal: the running line is drawn again */
	bool color;                 /* on stdout */
	bool quiet;                 /* -o json: nothing on stderr but errors */
	unsigned width;             /* columns; 80 where unknown */
	bool running;               /* a running line is on the screen */
	uint64_t drawn_at, line_at; /* monotonic ns */
	char *last;                 /* the line printed last off a terminal */
};
/* A line that stays. */
void screen_line(struct screen *screen, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The running line: replaced by the next; off a terminal printed when it differs and 10 s have passed, or `changed`. */
void screen_running(struct screen *screen, uint64_t now, bool changed, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Takes the running line away. */
void screen_clear(struct screen *screen);
/* "████░░░░" of `columns`, 0 to 1000 per mille. New string. */
char *screen_bar(unsigned per_mille, unsigned columns);
void screen_free(struct screen *screen);
