#include "engine/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/seal.h"

#define SEALED_MAX (4u << 20)

/* Where others keep files that they write themselves (kubernetes-facts: "Who owns the encryption file"). */
static const struct {
	const char *prefix, *owner;
} owners[] = {
	{"/var/lib/rancher/k3s/", "k3s"},
	{"/var/lib/rancher/rke2/", "RKE2"},
	{"/var/lib/rancher/", "Rancher"},
	{"/system/secrets/", "Talos"},
	{"/etc/kubernetes/static-pod-resources/", "OpenShift"},
	{"/srv/kubernetes/kube-apiserver/", "kOps"},
};

static const char *owner_of(const char *path)
{
	for (size_t i = 0; i < ELEMENTS(owners); i++)
		if (text_starts(path, owners[i].prefix))
			return owners[i].owner;
	return NULL;
}

int target_looked_at(const char *path, struct target **ret, struct error **err)
{
	char *real = realpath(path, NULL);
	if (!real)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno, "%s", path);
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->path = real;
	return 0;
}

int target_file(const char *path, struct target **ret, struct error **err)
{
	_cleanup_(target_freep) struct target *target = NULL;
	int rc = target_looked_at(path, &target, err);
	if (rc < 0)
		return rc;
	const char *owner = owner_of(target->path);
	if (owner) {
		rc = error_set(err, ERROR_REFUSED, "%s belongs to %s, which writes it itself", target->path, owner);
		error_set_hint(err, "let %s roll it out: kube-rekey rotate --target manual --out DIR", owner);
		return rc;
	}
	*ret = steal(target);
	return 0;
}

static bool in_git_work_tree(const char *directory)
{
	_cleanup_free_ char *at = xstrdup(directory);
	for (char *slash = at + strlen(at); slash; slash = strrchr(at, '/')) {
		*slash = '\0';
		_cleanup_free_ char *git = xasprintf("%s/.git", at);
		if (access(git, F_OK) == 0)
			return true;
	}
	return false;
}

/* The plain file goes where only we look, and CMS where the pipeline looks. */
static int seal_output(struct target *target, const char *cert, const char *state_directory, struct error **err)
{
	int rc = seal_open(cert, &target->seal, err);
	if (rc < 0)
		return rc;
	target->sealed_path = xasprintf("%s.cms", target->path);
	const char *name = strrchr(target->path, '/') + 1;
	char *path = xasprintf("%s/manual/%s", state_directory, name);
	free(target->path);
	target->path = path;
	return 0;
}

static bool same_file(const char *a, const char *b)
{
	struct stat of_a, of_b;
	return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

int target_manual(const char *source, const char *directory, const char *as_deployed, const char *seal_cert,
		  const char *state_directory, struct target **ret, struct error **err)
{
	struct stat status;
	_cleanup_free_ char *real = realpath(directory, NULL);
	if (!real || stat(real, &status) < 0)
		return error_set_errno(err, ERROR_INPUT, errno, "--out %s", directory);
	if (!S_ISDIR(status.st_mode))
		return error_set(err, ERROR_INPUT, "--out %s: not a directory", directory);
	if (status.st_mode & 077) {
		int rc = error_set(err, ERROR_REFUSED,
				   "--out %s: others can read this directory, and keys will lie there", directory);
		error_set_hint(err, "chmod 0700 %s", directory);
		return rc;
	}
	if (in_git_work_tree(real)) {
		int rc = error_set(err, ERROR_REFUSED, "--out %s: inside a git work tree, where keys get committed",
				   directory);
		error_set_hint(err, "choose a directory outside of it");
		return rc;
	}
	const char *slash = strrchr(source, '/');
	_cleanup_(target_freep) struct target *target = xcalloc(1, sizeof(*target));
	target->manual = true;
	target->path = xasprintf("%s/%s", real, slash ? slash + 1 : source);
	target->source = xstrdup(source);
	target->as_deployed = as_deployed ? xstrdup(as_deployed) : NULL;
	/* What lies in --out is removed in the end. */
	if (same_file(source, target->path)) {
		int rc = error_set(err, ERROR_REFUSED, "--out %s: it has the very file that the API server reads",
				   directory);
		error_set_hint(err, "choose another directory, which your pipeline takes the next file from");
		return rc;
	}
	int rc = seal_cert ? seal_output(target, seal_cert, state_directory, err) : 0;
	if (rc == 0)
		*ret = steal(target);
	return rc;
}

int target_make_place(const struct target *target, struct error **err)
{
	if (!target->sealed_path)
		return 0;
	const char *slash = strrchr(target->path, '/');
	_cleanup_free_ char *directory = xstrndup(target->path, (size_t)(slash - target->path));
	return file_make_directory(directory, err);
}

void target_free(struct target *target)
{
	if (!target)
		return;
	free(target->path);
	free(target->source);
	free(target->as_deployed);
	free(target->sealed_path);
	seal_free(target->seal);
	free(target);
}

void target_freep(struct target **target)
{
	target_free(*target);
}

static int read_one(const char *path, struct target_content *ret, struct error **err)
{
	int rc = file_read(path, ENCRYPTION_CONFIG_MAX, &ret->text, err);
	if (rc == 0)
		rc = encryption_config_parse(path, ret->text, &ret->config, err);
	if (rc == 0)
		ret->sha256 = text_sha256_tagged(secret_data(ret->text), secret_len(ret->text));
	return rc;
}

/* A pipeline may re-serialise our bytes; what it makes of them must mean the same, or it does not count. */
static char *deployed_hash(const struct target *target, const struct target_content *content)
{
	struct target_content deployed = {0};
	char *sha256 = NULL;
	if (target->as_deployed && read_one(target->as_deployed, &deployed, NULL) == 0 &&
	    config_shape_equal(encryption_config_shape(deployed.config), encryption_config_shape(content->config)))
		sha256 = steal(deployed.sha256);
	target_content_free(&deployed);
	return sha256 ? sha256 : xstrdup(content->sha256);
}

bool target_is_cleared(const struct target *target)
{
	return target->manual && access(target->path, F_OK) != 0;
}

int target_read(const struct target *target, struct target_content *ret, struct error **err)
{
	struct target_content content = {0};
	int rc = read_one(target_is_cleared(target) ? target->source : target->path, &content, err);
	if (rc < 0) {
		target_content_free(&content);
		return rc;
	}
	content.deployed_sha256 = deployed_hash(target, &content);
	*ret = content;
	return 0;
}

void target_content_free(struct target_content *content)
{
	secret_free(content->text);
	encryption_config_free(content->config);
	free(content->sha256);
	free(content->deployed_sha256);
	*content = (struct target_content){0};
}

static int write_sealed(const struct target *target, const struct secret *content, struct error **err)
{
	_cleanup_secret_ sealed = NULL;
	_cleanup_free_ char *before = NULL;
	enum file_replaced replaced;
	int rc = seal_encrypt(target->seal, content, &sealed, err);
	if (rc == 0 && access(target->sealed_path, F_OK) == 0)
		rc = file_sha256(target->sealed_path, SEALED_MAX, &before, err);
	return rc == 0 ? file_replace(target->sealed_path, sealed, before, 0600, &replaced, err) : rc;
}

int target_write(const struct target *target, const struct secret *content, const char *expect_sha256,
		 struct error **err)
{
	enum file_replaced replaced;
	bool first = target->manual && access(target->path, F_OK) != 0;
	int rc = file_replace(target->path, content, first ? NULL : expect_sha256, 0600, &replaced, err);
	if (rc < 0 && replaced == FILE_REPLACED_NOT_DURABLE)
		return error_wrap(err, rc, "%s was replaced, but may be the old one again after a power failure",
				  target->path);
	return rc == 0 && target->seal ? write_sealed(target, content, err) : rc;
}

int target_clean(const struct target *target, bool done, struct error **err)
{
	if (target->manual && done) {
		/* Put in place by a symlink it is the server's now, and so it may be by a hard link. */
		struct stat status;
		if (same_file(target->source, target->path))
			return 0;
		if (stat(target->path, &status) == 0 && status.st_nlink > 1)
			return error_set(err, ERROR_IO, "removing %s: it has another name (a hard link)", target->path);
		int rc = target->sealed_path ? file_shred_aside(target->sealed_path, err) : 0;
		return rc == 0 ? file_shred_aside(target->path, err) : rc;
	}
	int rc = file_remove_leftover(target->path, err);
	/* A crash between the plain file and the sealed one left an old one for the pipeline. */
	if (rc == 0 && target->seal && access(target->path, F_OK) == 0) {
		_cleanup_secret_ content = NULL;
		rc = file_read(target->path, ENCRYPTION_CONFIG_MAX, &content, err);
		if (rc == 0)
			rc = write_sealed(target, content, err);
	}
	return rc;
}
