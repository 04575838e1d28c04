/* Who changes the server's file: this process (`file`), or a person's pipeline that takes the next configuration
 * from a directory of
 * ours (`manual`). Both are a file that is read, compared and replaced. */
#pragma once
#include "base/secret.h"
#include "kube-rekey/encryption_config.h"

struct target {
	bool manual;
	char *path;        /* `file`: the server's file; `manual`: DIR/<name> */
	char *source;      /* `manual`: the present configuration, until the first one is written; else NULL */
	char *as_deployed; /* `manual`: what the pipeline makes of our bytes; NULL */
	char *sealed_path; /* `manual`, --out-seal: DIR/<name>.cms; `path` then lies in the state directory; NULL */
	struct seal *seal;
};
struct target_content {
	struct secret *text;
	char *sha256;          /* of the file as we read or wrote it */
	char *deployed_sha256; /* of what the servers shall load: the same, or of the --as-deployed file */
	struct encryption_config *config;
};
/* A server's file that is only read, whoever owns it. -ERROR_NOT_FOUND, -ERROR_IO. */
_must_check_ int target_looked_at(const char *path, struct target **ret, struct error **err);
/* Makes a target for the server's own file: refuses one that somebody else owns (k3s, RKE2, Talos, kOps: by its
 * path and its words). */
_must_check_ int target_file(const char *path, struct target **ret, struct error **err);
/* Makes one for a directory: refused inside a git work tree, or when others can read it. With `seal_cert` DIR gets
 * CMS alone, and the
 * plain file is kept in `state_directory`, where the next run finds it. */
_must_check_ int target_manual(const char *source, const char *directory, const char *as_deployed,
			       const char *seal_cert, const char *state_directory, struct target **ret,
			       struct error **err);
/* Makes the place of a sealed target's plain file (0700): opening one, as plan and gate do, makes nothing. */
_must_check_ int target_make_place(const struct target *target, struct error **err);
void target_free(struct target *target);
void target_freep(struct target **target);
/* `manual`: nothing of ours lies in DIR, so that the source is what is read. */
bool target_is_cleared(const struct target *target);
/* What is there now, parsed. */
_must_check_ int target_read(const struct target *target, struct target_content *ret, struct error **err);
void target_content_free(struct target_content *content);
/* Replaces it, expecting `expect_sha256` there. */
_must_check_ int target_write(const struct target *target, const struct secret *content, const char *expect_sha256,
			      struct error **err);
/* Clears up what a crash left half done; at Done also removes what lies in DIR (`manual`). */
_must_check_ int target_clean(const struct target *target, bool done, struct error **err);
