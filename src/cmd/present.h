/* What is there now: the values, and the server beside its file. */
#pragma once
#include "cmd/session.h"
#include "engine/census.h"
#include "engine/journal.h"
#include "engine/kms_look.h"
#include "kube-rekey/observation.h"

/* A census as census and status take it: of what --resource says, else of everything, judged by the present file. */
struct census_options present_census_options(struct command_context *context, const struct session *session);
/* The KMS v2 plugins of the present file, as they answer now, and that file with the key IDs that they name: values under another
 * one are stale, as under another key. Of a plugin that is not well none is known. */
struct present_kms {
	struct kms_look *looks;
	size_t count;
	struct config_shape *shape; /* NULL: the configuration is not known */
};
/* Asks, and has `options` judge by what they say. Fails only when interrupted; *ret must outlive the census, and is to be freed
 * whatever comes back. */
_must_check_ int present_ask_kms(const struct session *session, struct census_options *options, struct present_kms *ret,
				 struct error **err);
void present_kms_free(struct present_kms *kms);
/* Looks once: does the server run this very file? session->config must be known. `ret_journal` (new) is of a rotation
 * of the file `rotating` under way, NULL where there is none; `ret_of_another`: and that of another cluster. */
_must_check_ int present_look(const struct session *session, const char *rotating, struct journal **ret_journal,
			      bool *ret_of_another, struct server_observation *ret, struct error **err);
/* 0 where the server runs the file, or where its version does not show what it runs; else -ERROR_FINDING. */
_must_check_ int present_verdict(const struct session *session, const struct server_observation *server,
				 struct error **err);
