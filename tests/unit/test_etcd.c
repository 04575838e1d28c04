/* One cluster of fake members: who is asked, what is believed, and what is tried again. */
#include "etcd_server.h"
#include "base/clock.h"
#include "base/text.h"
#include "client/etcd/etcd.h"

#define CLUSTER 0xc1

static struct loop *loop;
static struct fake_etcd a, b, c;
static struct fake_member members[3];

static int set_up(void **state)
{
	struct error *err = NULL;

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	fake_etcd_start(&a, CLUSTER, 0xa);
	fake_etcd_start(&b, CLUSTER, 0xb);
	fake_etcd_start(&c, CLUSTER, 0xc);
	members[0] = (struct fake_member){.id = 0xa, .name = "node-a", .url = a.url};
	members[1] = (struct fake_member){.id = 0xb, .name = "node-b", .url = b.url};
	members[2] = (struct fake_member){.id = 0xc, .name = "", .url = c.url, .learner = true};
	a.members = b.members = c.members = members;
	a.member_count = b.member_count = c.member_count = 3;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake_etcd_stop(&a);
	fake_etcd_stop(&b);
	fake_etcd_stop(&c);
	loop_free(loop);
	return 0;
}

static struct etcd *etcd_of(const char *const *endpoints, size_t count)
{
	struct etcd_options options = {.endpoints = endpoints, .endpoint_count = count};
	struct etcd *etcd = NULL;
	struct error *err = NULL;

	assert_ok(etcd_new(loop, &options, &etcd, &err), err);
	return etcd;
}

static struct etcd *connected(const char *one, const char *two)
{
	const char *endpoints[] = {one, two};
	struct etcd *etcd = etcd_of(endpoints, two ? 2 : 1);
	struct error *err = NULL;

	assert_ok(etcd_connect(etcd, &err), err);
	return etcd;
}

/* A port where nobody listens. */
static const char *nobody(void)
{
	return "http://127.0.0.1:1";
}

static void test_new(void **state)
{
	const char *good[] = {"127.0.0.1:2379/", "http://127.0.0.1:2379", "https://etcd.example:2379"};
	const char *bad[] = {"ftp://x"}, *none[] = {""};
	struct etcd_options options = {.endpoints = bad, .endpoint_count = 1};
	struct etcd *etcd = etcd_of(good, 3);
	struct error *err = NULL;

	(void)state;
	assert_string_equal(etcd_label(etcd),
			    "http://127.0.0.1:2379,https://etcd.example:2379"); /* the same one twice is one */
	assert_int_equal(etcd_member_count(etcd), 0);
	etcd_free(etcd);
	assert_int_equal(etcd_new(loop, &options, &etcd, &err), -ERROR_INPUT);
	error_clear(&err);
	options.endpoints = none;
	assert_int_equal(etcd_new(loop, &options, &etcd, NULL), -ERROR_INPUT);
	options.endpoint_count = 0;
	assert_error(etcd_new(loop, &options, &etcd, &err), err, ERROR_INPUT, "no etcd endpoint was given");
}

/* One given address; the others are asked at their own. */
static void test_members(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);

	(void)state;
	assert_int_equal(etcd_cluster_id(etcd), CLUSTER);
	assert_true(etcd_membership_certain(etcd));
	assert_false(etcd_behind_balancer(etcd));
	assert_int_equal(etcd_member_count(etcd), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_true(etcd_member(etcd, i)->answered);
		assert_string_equal(etcd_member(etcd, i)->url, members[i].url);
		assert_int_equal(etcd_member(etcd, i)->revision, 4711);
		assert_int_equal(etcd_member(etcd, i)->raft_term, 3);
		assert_int_equal(etcd_member(etcd, i)->db_size_quota, 2000);
		assert_null(etcd_member(etcd, i)->why);
	}
	assert_string_equal(etcd_member(etcd, 0)->name, "node-a");
	assert_string_equal(etcd_member(etcd, 2)->name, c.url); /* not started by then: it has no name */
	assert_true(etcd_member(etcd, 2)->learner);
	etcd_free(etcd);
}

/* How full they are now: of those that answer, and the others stay as they were. */
static void test_statuses(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);
	struct error *err = NULL;
	uint64_t before[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		before[i] = etcd_member(etcd, i)->told_at;
		assert_true(before[i] > 0);
		assert_int_equal(etcd_member(etcd, i)->db_size, 1000);
		assert_int_equal(etcd_member(etcd, i)->db_grows, 0);
	}
	usleep(50000);
	a.db_size = 1500;
	a.db_in_use = 700;
	b.silent[METHOD_STATUS] = true;
	c.member_id = 0xd; /* at its address another one answers */
	c.db_size = 1800;
	assert_ok(etcd_ask_statuses(etcd, NS_PER_S / 2, &err), err);
	assert_int_equal(etcd_member(etcd, 0)->db_size, 1500);
	assert_int_equal(etcd_member(etcd, 0)->db_size_in_use, 700);
	assert_true(etcd_member(etcd, 0)->told_at >= before[0] + 50 * NS_PER_MS);
	assert_in_range(etcd_member(etcd, 0)->db_grows, 1, 500 * 1000 / 50);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(etcd_member(etcd, i)->db_size, 1000);
		assert_int_equal(etcd_member(etcd, i)->told_at, before[i]);
		assert_true(etcd_member(etcd, i)->answered); /* in the last connect */
	}
	a.db_size = 1200; /* it was defragmented */
	b.silent[METHOD_STATUS] = false;
	assert_ok(etcd_ask_statuses(etcd, NS_PER_S, &err), err);
	assert_int_equal(etcd_member(etcd, 0)->db_size, 1200);
	assert_int_equal(etcd_member(etcd, 0)->db_grows, 0);
	assert_int_equal(etcd_member(etcd, 1)->told_at, etcd_member(etcd, 0)->told_at);
	etcd_free(etcd);
	a.db_size = a.db_in_use = c.db_size = 0;
	c.member_id = 0xc;
}

static void test_member_down(void **state)
{
	struct fake_member with_dead[] = {
		members[0], {.id = 0xd, .name = "node-d", .url = nobody()}, {.id = 0xe, .name = "node-e"}};
	struct etcd *etcd;
	struct error *err = NULL;

	(void)state;
	a.members = with_dead;
	etcd = connected(a.url, nobody());
	assert_int_equal(etcd_member_count(etcd), 3);
	assert_true(etcd_member(etcd, 0)->answered);
	assert_false(etcd_member(etcd, 1)->answered);
	assert_string_equal(etcd_member(etcd, 1)->url, nobody());
	assert_non_null(etcd_member(etcd, 1)->why);
	assert_false(etcd_member(etcd, 2)->answered);
	assert_null(etcd_member(etcd, 2)->url);
	assert_string_equal(etcd_member(etcd, 2)->why, "it has no address of its own yet");
	/* Membership is read anew each time. */
	a.members = members;
	assert_ok(etcd_connect(etcd, &err), err);
	assert_string_equal(etcd_member(etcd, 1)->name, "node-b");
	assert_true(etcd_member(etcd, 1)->answered);
	etcd_free(etcd);
}

/* Its own address leads to somebody else, here to another cluster: no way to it. */
static void test_member_elsewhere(void **state)
{
	struct fake_member elsewhere[] = {members[0], {.id = 0xd, .name = "node-d", .url = b.url}};
	struct etcd *etcd;
	struct error *err = NULL;

	(void)state;
	a.members = elsewhere;
	a.member_count = 2;
	b.cluster_id = 0xbad;
	etcd = connected(a.url, NULL);
	assert_false(etcd_member(etcd, 1)->answered);
	assert_string_equal(etcd_member(etcd, 1)->why, "another etcd cluster answers at its address");
	assert_ok(etcd_connect(etcd, &err), err); /* and no reason to refuse the rest, the second time either */
	b.cluster_id = CLUSTER;
	assert_ok(etcd_connect(etcd, &err), err);
	assert_string_equal(etcd_member(etcd, 1)->why, "another member answers at its address");
	assert_null(etcd_member(etcd, 1)->url);
	a.members = members;
	a.member_count = 3;
	etcd_free(etcd);
}

static void test_nobody_answers(void **state)
{
	const char *endpoints[] = {nobody(), "http://127.0.0.1:2"};
	struct etcd *etcd = etcd_of(endpoints, 2);
	struct error *err = NULL;

	(void)state;
	assert_int_equal(etcd_connect(etcd, &err), -ERROR_NETWORK);
	assert_true(text_starts(error_message(err), "no etcd endpoint answers: "));
	assert_non_null(strstr(error_message(err), "127.0.0.1:2"));
	error_free(err);
	etcd_free(etcd);
}

static void test_denied(void **state)
{
	const char *endpoints[] = {a.url};
	struct etcd *etcd = etcd_of(endpoints, 1);

	(void)state;
	a.fails[METHOD_STATUS] = 7;
	assert_int_equal(etcd_connect(etcd, NULL), -ERROR_AUTH);
	a.fails[METHOD_STATUS] = 0;
	etcd_free(etcd);
}

static void test_two_clusters(void **state)
{
	const char *endpoints[] = {a.url, b.url};
	struct etcd *etcd = etcd_of(endpoints, 2);
	struct error *err = NULL;

	(void)state;
	b.cluster_id = 0xbad;
	assert_int_equal(etcd_connect(etcd, &err), -ERROR_REFUSED);
	assert_non_null(strstr(error_message(err), "(c1 and bad)"));
	assert_non_null(strstr(error_message(err), a.url));
	assert_non_null(strstr(error_message(err), b.url));
	error_clear(&err);
	b.cluster_id = CLUSTER;
	assert_ok(etcd_connect(etcd, &err), err);
	/* All of them another one than before. */
	a.cluster_id = b.cluster_id = c.cluster_id = 0xbad;
	assert_int_equal(etcd_connect(etcd, &err), -ERROR_REFUSED);
	assert_non_null(strstr(error_message(err), "cluster bad, not c1 as before"));
	error_free(err);
	a.cluster_id = b.cluster_id = c.cluster_id = CLUSTER;
	etcd_free(etcd);
}

static void test_no_quorum(void **state)
{
	struct etcd *etcd;

	(void)state;
	a.no_linearizable = b.no_linearizable = true;
	etcd = connected(a.url, b.url);
	assert_false(etcd_membership_certain(etcd));
	assert_int_equal(etcd_member_count(etcd), 3);
	a.no_linearizable = b.no_linearizable = false;
	etcd_free(etcd);
}

static void test_balancer(void **state)
{
	struct fake_member hidden[] = {{.id = 0xa, .name = "node-a", .url = nobody()},
				       {.id = 0xb, .name = "node-b", .url = nobody()}};
	struct etcd *etcd;

	(void)state;
	a.members = hidden;
	a.member_count = 2;
	a.other_member = 0xb;
	etcd = connected(a.url, NULL);
	assert_true(etcd_behind_balancer(etcd));
	assert_false(etcd_member(etcd, 0)->answered);
	etcd_free(etcd);
	a.other_member = 0;
	a.members = members;
	a.member_count = 3;
}

/* --- ranges ----------------------------------------------------------------------------------------------------- */

struct seen {
	size_t kvs;
	int stop;
	bool done;
	struct etcd_range_result result;
	struct error *error;
};

static int on_kv(void *arg, const struct etcd_kv *kv)
{
	struct seen *seen = arg;

	assert_true(text_starts(kv->key, "/registry/secrets/a/"));
	seen->kvs++;
	return seen->stop;
}

static void on_done(void *arg, struct etcd_range_result *result)
{
	struct seen *seen = arg;

	seen->done = true;
	seen->result = *result;
	seen->error = steal(result->error);
}

static void range(struct etcd *etcd, int member, uint64_t revision, struct seen *seen)
{
	struct error *err = NULL;

	*seen = (struct seen){.stop = seen->stop};
	etcd_range_start(etcd, &(struct etcd_range_options){.request = {.key = "/",
									.key_len = 1,
									.range_end = "0",
									.range_end_len = 1,
									.revision = revision},
							    .member = member,
							    .on_kv = on_kv,
							    .on_done = on_done,
							    .arg = seen});
	assert_false(seen->done);
	assert_ok(loop_run_until(loop, &seen->done, clock_monotonic() + 10 * NS_PER_S, &err), err);
}

static void test_range(void **state)
{
	struct etcd *etcd = connected(a.url, b.url);
	struct seen seen = {0};

	(void)state;
	a.kv_count = b.kv_count = 1000;
	range(etcd, -1, 0, &seen);
	assert_ok(seen.result.rc, seen.error);
	assert_int_equal(seen.kvs, 1000);
	assert_int_equal(seen.result.count, 1000);
	assert_int_equal(seen.result.header.revision, 4711);
	b.asked[METHOD_RANGE] = 0;
	range(etcd, 1, 0, &seen);
	assert_ok(seen.result.rc, seen.error);
	assert_int_equal(b.asked[METHOD_RANGE], 1);
	seen.stop = -ERROR_LIMIT;
	range(etcd, -1, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_LIMIT);
	assert_int_equal(seen.kvs, 1);
	error_free(seen.error);
	etcd_free(etcd);
}

static void test_another_endpoint(void **state)
{
	struct etcd *etcd = connected(a.url, b.url);
	struct seen seen = {0};

	(void)state;
	a.kv_count = b.kv_count = 10;
	a.drop[METHOD_RANGE] = true;
	range(etcd, -1, 0, &seen);
	assert_ok(seen.result.rc, seen.error);
	assert_int_equal(seen.kvs, 10);
	a.drop[METHOD_RANGE] = false;
	a.fails[METHOD_RANGE] = 14;
	range(etcd, -1, 0, &seen);
	assert_ok(seen.result.rc, seen.error);
	/* A member that was named is the only one that is asked. */
	range(etcd, 0, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_BUSY);
	assert_string_equal(error_server(seen.error), a.url);
	error_free(seen.error);
	/* What another member would answer as well is not asked again. */
	a.fails[METHOD_RANGE] = 7;
	range(etcd, 0, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_AUTH);
	error_free(seen.error);
	a.fails[METHOD_RANGE] = 0;
	etcd_free(etcd);
}

/* After the first kv another try would deliver it twice. */
static void test_cut(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);
	struct seen seen = {0};

	(void)state;
	a.kv_count = b.kv_count = c.kv_count = 10;
	a.cut_after_kvs = b.cut_after_kvs = c.cut_after_kvs = true;
	b.asked[METHOD_RANGE] = c.asked[METHOD_RANGE] = 0;
	range(etcd, -1, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_NETWORK);
	assert_int_equal(seen.kvs, 10);
	assert_int_equal(b.asked[METHOD_RANGE] + c.asked[METHOD_RANGE], 0);
	error_free(seen.error);
	a.cut_after_kvs = b.cut_after_kvs = c.cut_after_kvs = false;
	etcd_free(etcd);
}

static void test_range_of_another_cluster(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);
	struct seen seen = {0};

	(void)state;
	a.kv_count = 10;
	a.cluster_id = 0xbad;
	range(etcd, 0, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_REFUSED);
	assert_int_equal(seen.kvs, 0);
	assert_non_null(strstr(error_message(seen.error), "cluster bad, not c1 as before"));
	error_free(seen.error);
	a.kv_count = 0; /* nor is an empty answer of it an empty keyspace */
	range(etcd, 0, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_REFUSED);
	error_free(seen.error);
	a.cluster_id = CLUSTER;
	a.member_id = 0xf;
	range(etcd, 0, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_PROTOCOL);
	assert_non_null(strstr(error_message(seen.error), "answers as member f, not a as before"));
	error_free(seen.error);
	a.member_id = 0xa;
	etcd_free(etcd);
}

/* What is read on at "its" revision would be read at another one each time. */
static void test_range_without_a_revision(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);
	struct seen seen = {0};

	(void)state;
	a.no_revision = true;
	for (size_t count = 0; count <= 10; count += 10) {
		a.kv_count = count;
		range(etcd, 0, 0, &seen);
		assert_int_equal(seen.result.rc, -ERROR_PROTOCOL);
		assert_int_equal(seen.kvs, 0);
		assert_non_null(strstr(error_message(seen.error), "at which revision"));
		error_free(seen.error);
	}
	a.no_revision = false;
	a.kv_count = 0;
	etcd_free(etcd);
}

static void test_no_way(void **state)
{
	struct fake_member nameless[] = {members[0], {.id = 0xe, .name = "node-e"}};
	struct etcd *etcd;
	struct seen seen = {0};
	struct etcd_status status = {0};

	(void)state;
	a.members = nameless;
	a.member_count = 2;
	etcd = connected(a.url, NULL);
	range(etcd, 1, 0, &seen);
	assert_int_equal(seen.result.rc, -ERROR_NETWORK);
	error_free(seen.error);
	assert_int_equal(etcd_status_fetch(etcd, 1, 0, &status, NULL), -ERROR_NETWORK);
	a.members = members;
	a.member_count = 3;
	etcd_free(etcd);
}

static void test_cancel(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);
	struct seen seen = {0};
	struct etcd_range_call *call;
	bool never = false;

	(void)state;
	call = etcd_range_start(
		etcd, &(struct etcd_range_options){
			      .request = {.key = "/", .key_len = 1}, .member = -1, .on_done = on_done, .arg = &seen});
	etcd_range_cancel(call);
	etcd_range_cancel(NULL);
	(void)!loop_run_until(loop, &never, clock_monotonic() + 50 * NS_PER_MS, NULL);
	assert_false(seen.done);
	etcd_free(etcd);
	etcd_free(NULL);
}

/* --- small calls ------------------------------------------------------------------------------------------------ */

static void test_compacted(void **state)
{
	struct etcd *etcd = connected(a.url, b.url);
	struct error *err = NULL;
	struct seen seen = {0};
	bool compacted = false;

	(void)state;
	a.compacted = b.compacted = c.compacted = 100;
	range(etcd, -1, 50, &seen);
	assert_int_equal(seen.result.rc, -ERROR_EXPIRED);
	error_free(seen.error);
	assert_ok(etcd_is_compacted(etcd, 100, &compacted, &err), err);
	assert_true(compacted); /* 99 cannot be read */
	assert_ok(etcd_is_compacted(etcd, 101, &compacted, &err), err);
	assert_false(compacted); /* 100 can */
	assert_ok(etcd_is_compacted(etcd, 1, &compacted, &err), err);
	assert_true(compacted);
	/* Another cluster's history says nothing about ours. */
	a.cluster_id = b.cluster_id = c.cluster_id = 0xbad;
	assert_int_equal(etcd_is_compacted(etcd, 100, &compacted, NULL), -ERROR_REFUSED);
	a.cluster_id = b.cluster_id = c.cluster_id = CLUSTER;
	a.compacted = b.compacted = c.compacted = 0;
	etcd_free(etcd);
}

static void test_compact(void **state)
{
	struct etcd *etcd = connected(a.url, b.url);
	struct error *err = NULL;

	(void)state;
	a.drop[METHOD_COMPACT] = true;
	b.asked[METHOD_COMPACT] = 0;
	assert_ok(etcd_compact(etcd, 7, &err), err);
	assert_int_equal(b.asked[METHOD_COMPACT], 1);
	a.drop[METHOD_COMPACT] = false;
	a.fails[METHOD_COMPACT] = b.fails[METHOD_COMPACT] = 11;
	a.words = b.words = "etcdserver: mvcc: required revision has been compacted";
	assert_ok(etcd_compact(etcd, 7, &err), err);
	a.words = b.words = "etcdserver: mvcc: required revision is a future revision";
	assert_int_equal(etcd_compact(etcd, 7, &err), -ERROR_PROTOCOL);
	assert_true(text_starts(error_message(err), "compacting etcd at revision 7: "));
	error_free(err);
	a.fails[METHOD_COMPACT] = b.fails[METHOD_COMPACT] = 0;
	a.words = b.words = NULL;
	etcd_free(etcd);
}

static void test_status(void **state)
{
	struct etcd *etcd = connected(a.url, NULL);
	struct etcd_status status = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(etcd_status_fetch(etcd, 1, 0, &status, &err), err);
	assert_int_equal(status.header.member_id, 0xb);
	assert_string_equal(status.version, "3.6.0");
	etcd_status_free(&status);
	b.member_id = 0xf;
	assert_int_equal(etcd_status_fetch(etcd, 1, 0, &status, NULL), -ERROR_PROTOCOL);
	b.member_id = 0xb;
	etcd_free(etcd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_member_down),
		cmocka_unit_test(test_member_elsewhere),
		cmocka_unit_test(test_nobody_answers),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_two_clusters),
		cmocka_unit_test(test_no_quorum),
		cmocka_unit_test(test_balancer),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_another_endpoint),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_range_of_another_cluster),
		cmocka_unit_test(test_range_without_a_revision),
		cmocka_unit_test(test_no_way),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_compacted),
		cmocka_unit_test(test_compact),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
