/* The person's browser, where there is a display. */
#pragma once

struct browser;
/* Lets xdg-open show `url`; *ret stays NULL where there is none, or no display. The address holds a token: it does not go into
 * an argument, which every user of the machine may read, but into a file in $XDG_RUNTIME_DIR that leads on to it; without such a
 * folder nothing is opened. Nothing depends on it: what fails is passed over. */
void browser_open(const char *url, char *const *environment, struct browser **ret);
void browser_close(struct browser *browser); /* the file goes; NULL is fine */
