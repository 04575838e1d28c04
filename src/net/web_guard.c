#include "net/web_guard.h"
#include <string.h>
#include <openssl/crypto.h>
#include "base/secret.h"
#include "base/text.h"

#define PORT_DIGITS_MAX 5

char *web_guard_token(void)
{
	_cleanup_secret_ random = secret_random(WEB_TOKEN_BYTES);

	return text_hex(secret_data(random), secret_len(random));
}

static bool is_port(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits > 0 && digits <= PORT_DIGITS_MAX && text[digits] == '\0';
}

bool web_guard_host(const char *host)
{
	static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
	size_t i;

	for (i = 0; host != NULL && i < ELEMENTS(names); i++) {
		const char *rest = host + strlen(names[i]);

		if (text_starts(host, names[i]) && (*rest == '\0' || (*rest == ':' && is_port(rest + 1))))
			return true;
	}
	return false;
}

bool web_guard_origin(const char *origin, const char *host)
{
	static const char scheme[] = "http://";

	return origin != NULL && host != NULL && text_starts(origin, scheme) &&
	       text_equal(origin + strlen(scheme), host);
}

const char *web_guard_path(const char *path, const char *token)
{
	size_t len = strlen(token);

	if (path[0] != '/' || strlen(path) < len + 1 || CRYPTO_memcmp(path + 1, token, len) != 0)
		return NULL;
	return path[len + 1] == '/' ? path + len + 1 : NULL;
}
