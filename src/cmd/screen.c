#include "cmd/screen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"

#define DRAW_INTERVAL (100 * NS_PER_MS)
#define LINE_INTERVAL (10 * NS_PER_S)
#define LINE_MAX 1024

void screen_clear(struct screen *screen)
{
	if (screen->running)
		fputs("\r\033[K", stderr);
	screen->running = false;
}

void screen_line(struct screen *screen, const char *fmt, ...)
{
	va_list args;
	if (screen->quiet)
		return;
	screen_clear(screen);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* Cuts at the terminal's width, counting characters, so that the running line never wraps. */
static void cut(char *line, unsigned width)
{
	unsigned columns = 0;
	for (char *c = line; *c; c++) {
		if (((unsigned char)*c & 0xc0) == 0x80)
			continue;
		if (++columns >= width) {
			*c = '\0';
			return;
		}
	}
}

void screen_running(struct screen *screen, uint64_t now, bool changed, const char *fmt, ...)
{
	char line[LINE_MAX];
	va_list args;
	if (screen->quiet)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (screen->live) {
		if (!changed && now < screen->drawn_at + DRAW_INTERVAL)
			return;
		cut(line, screen->width);
		fprintf(stderr, "\r%s\033[K", line);
		screen->running = true;
		screen->drawn_at = now;
		return;
	}
	if (screen->line_at == 0)
		screen->line_at = now; /* what is over within seconds needs no line */
	if (text_equal(line, screen->last) || (!changed && now < screen->line_at + LINE_INTERVAL))
		return;
	fprintf(stderr, "%s\n", line);
	free(screen->last);
	screen->last = xstrdup(line);
	screen->line_at = now;
}

char *screen_bar(unsigned per_mille, unsigned columns)
{
	struct buf out = BUF_INIT(LINE_MAX);
	unsigned full = per_mille * columns / 1000;
	for (unsigned i = 0; i < columns; i++)
		if (buf_append_text(&out, i < full ? "█" : "░") < 0)
			break;
	return buf_steal_text(&out);
}

void screen_free(struct screen *screen)
{
	screen_clear(screen);
	free(screen->last);
}
