/* Whether a request to a server for one person's browser on this machine is that person's: other users of the machine and
 * pages of other sites can reach the port, too. Pure.
 *
 * The token in the path keeps out who was not given it. The Host keeps out a site whose name was made to lead to 127.0.0.1
 * (DNS rebinding): its browser sends that name. Any port is good, since a tunnel may end at another one. The Origin, which a
 * browser sends with each WebSocket, keeps out pages of other sites, and of other ports of this machine. */
#pragma once
#include <stdbool.h>

#define WEB_TOKEN_BYTES 16 /* of chance */

/* Lowercase hex digits. New string. */
char *web_guard_token(void);
/* "127.0.0.1", "localhost" or "[::1]", with a port or without. NULL is none. */
bool web_guard_host(const char *host);
/* "http://" and then exactly `host`. NULL is none. */
bool web_guard_origin(const char *origin, const char *host);
/* Of "/TOKEN/rest" the "/rest"; NULL where there is another token or none. Takes as long for every wrong one. */
const char *web_guard_path(const char *path, const char *token);
