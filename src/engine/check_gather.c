#include "engine/check_gather_internal.h"

int check_keep_why(int rc, struct error **failed, char **ret_why, struct error **err)
{
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(*failed);
		return rc;
	}
	if (rc < 0)
		*ret_why = xstrdup(error_message(*failed));
	error_clear(failed);
	return 0;
}

static int read_uid(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	_cleanup_error_ failed = NULL;
	int rc = cluster_uid(in->cluster, &in->cluster->kube, &f->cluster_uid, &failed);
	return check_keep_why(rc, &failed, &f->cluster_uid_why, err);
}

int check_gather(const struct check_sources *in, struct check_facts *ret, struct error **err)
{
	*ret = (struct check_facts){.wall_now = in->wall_now, .single_file_mount = -1};
	int rc = read_uid(in, ret, err);
	/* The servers first: what agents report stands in for what this machine does not have. */
	if (rc == 0)
		rc = check_gather_servers(in, ret, err);
	if (rc == 0)
		rc = check_gather_node(in, ret, err);
	if (rc == 0)
		rc = check_gather_values(in, ret, err);
	if (rc == 0)
		rc = check_gather_writes(in, ret, err);
	return rc;
}
