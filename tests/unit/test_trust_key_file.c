#include "cmd/trust_key_file.h"
#include "test_support.h"

/* --trust-key; else what the API server signs with; else where kubeadm puts that; and none where another program signs. */
static void test_which(void **state)
{
	char by_flag[] = "/pki/signing.pem", endpoint[] = "/run/signer.sock", given[] = "/etc/trust-key";
	struct options options = {0};
	struct node_facts node = {0};
	(void)state;
	assert_string_equal(trust_key_file(&options, &node), "/etc/kubernetes/pki/sa.key");
	node.signing_key = by_flag;
	assert_string_equal(trust_key_file(&options, &node), "/pki/signing.pem");
	node.signing_endpoint = endpoint;
	assert_null(trust_key_file(&options, &node));
	options.trust_key = given;
	assert_string_equal(trust_key_file(&options, &node), given);
}

static void test_none_by_itself(void **state)
{
	char endpoint[] = "/run/signer.sock";
	const struct options options = {0};
	const struct node_facts node = {.signing_endpoint = endpoint};
	struct trust_key *key = NULL;
	struct error *err = NULL;
	(void)state;
	assert_error(trust_key_of_node(&options, &node, &key, &err), err, ERROR_REFUSED,
		     "no trust key: the API server has its tokens signed by another program "
		     "(--service-account-signing-endpoint /run/signer.sock)");
	assert_null(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which),
		cmocka_unit_test(test_none_by_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
