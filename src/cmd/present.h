/* The server as it is now beside the file as it is now: does it run this very file? */
#pragma once
#include "cmd/session.h"
#include "engine/journal.h"
#include "kube-rekey/observation.h"

/* Looks once; session->config must be known. `ret_journal` (new) is of a rotation under way, NULL where there is none. */
_must_check_ int present_look(const struct session *session, struct journal **ret_journal,
			      struct server_observation *ret, struct error **err);
/* 0 where the server runs the file, or where its version does not show what it runs; else -ERROR_FINDING. */
_must_check_ int present_verdict(const struct session *session, const struct server_observation *server,
				 struct error **err);
void present_free(struct server_observation *server); /* the contents */
