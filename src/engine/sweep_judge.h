/* What an answer to a request for one object means: for rewriting, and for reading one by one. Pure. */
#pragma once
#include <stdbool.h>

enum sweep_verdict {
	SWEEP_DONE,
	SWEEP_GONE,
	SWEEP_CONFLICT, /* read again, then write */
	SWEEP_LOAD,     /* nothing was done; the server has too much to do */
	SWEEP_AWAY,     /* likewise, or its outcome is unknown: read again when it is back */
	SWEEP_ERROR,    /* 500: load or this object alone; read again */
	SWEEP_FAULT,    /* this object alone; a few more tries */
	SWEEP_REFUSED,  /* final, in the server's words */
	SWEEP_FATAL,    /* no other object will fare better */
};
struct sweep_answer {
	int rc;
	unsigned status;
	bool sent;
	const char *message;
	/* The server was away moments ago. One that has just started refuses everybody until it has read who may do what (seen for
	 * seconds). */
	bool just_back;
};
enum sweep_verdict sweep_judge(const struct sweep_answer *answer);
/* The server's words out of an error's message ("update secrets a/b: 422 Invalid: words"): points into it. */
const char *sweep_words(const char *message);
