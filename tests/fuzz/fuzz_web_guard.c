/* Who may see the dashboard: lines of an input are a Host, an Origin and a path. What is let in is what the rules say, told
 * in another way, and what curl takes for this machine; nothing more, however much alike it looks. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <curl/curl.h>
#include "base/text.h"
#include "net/web_guard.h"

#define TOKEN "0123456789abcdef0123456789abcdef"
#define OURS "^(127[.]0[.]0[.]1|localhost|[[]::1])(:[0-9]{1,5})?$"

static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool is_ours(const char *host)
{
	static regex_t ours;
	static bool made;

	if (!made)
		must(regcomp(&ours, OURS, REG_EXTENDED | REG_NOSUB) == 0);
	made = true;
	return regexec(&ours, host, 0, NULL, 0) == 0;
}

/* Where a client would go that is given this URL. A port beyond 65535 leads nowhere. */
static void must_lead_here(const char *url)
{
	CURLU *parsed = curl_url();
	char *scheme = NULL, *host = NULL, *user = NULL;
	CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, 0);

	must(code == CURLUE_OK || code == CURLUE_BAD_PORT_NUMBER);
	if (code == CURLUE_OK) {
		must(curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && text_equal(scheme, "http"));
		must(curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK);
		must(text_equal(host, names[0]) || text_equal(host, names[1]) || text_equal(host, names[2]));
		must(curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
	}
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(parsed);
}

static void check_host(const char *host)
{
	_cleanup_free_ char *url = xasprintf("http://%s", host);

	must(web_guard_host(host) == is_ours(host));
	if (web_guard_host(host))
		must_lead_here(url);
}

static void check_hosts_alike(const char *text)
{
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		_cleanup_free_ char *behind = xasprintf("%s%s", names[i], text);
		_cleanup_free_ char *before = xasprintf("%s%s", text, names[i]);
		_cleanup_free_ char *with_port = xasprintf("%s:%s", names[i], text);

		check_host(behind);
		check_host(before);
		check_host(with_port);
	}
}

static void check_origin(const char *origin, const char *host)
{
	_cleanup_free_ char *same = host ? xasprintf("http://%s", host) : NULL;
	bool good = origin && host && strcmp(origin, same) == 0;

	must(web_guard_origin(origin, host) == good);
	if (good && web_guard_host(host))
		must_lead_here(origin);
	if (!host)
		return;
	must(web_guard_origin(same, host));
	must(!web_guard_origin(host, host));
	if (origin) {
		_cleanup_free_ char *longer = xasprintf("%s%s", same, origin);
		must(web_guard_origin(longer, host) == text_empty(origin));
	}
}

static void check_path(const char *path)
{
	const char *rest = web_guard_path(path, TOKEN);

	must((rest != NULL) == (strncmp(path, "/" TOKEN "/", strlen(TOKEN) + 2) == 0));
	must(!rest || rest == path + strlen(TOKEN) + 1);
}

/* The very token, and then with any one of its characters changed. */
static void check_token(const char *rest, unsigned bit)
{
	_cleanup_free_ char *path = xasprintf("/" TOKEN "/%s", rest);

	check_path(path);
	must(web_guard_path(path, TOKEN) != NULL);
	for (char *at = path + 1; at <= path + strlen(TOKEN); at++) {
		*at = (char)(*at ^ (1 << bit));
		must(web_guard_path(path, TOKEN) == NULL);
		*at = (char)(*at ^ (1 << bit));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	_cleanup_strings_ lines = {0};

	strings_split(&lines, text, '\n');
	const char *host = lines.items[0];
	const char *origin = lines.count > 1 ? lines.items[1] : NULL;
	const char *path = lines.count > 2 ? lines.items[2] : host;
	check_host(host);
	check_hosts_alike(host);
	check_origin(origin, host);
	check_origin(host, origin);
	check_path(path);
	check_token(path, size % 8);
	return 0;
}
