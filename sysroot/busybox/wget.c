/*
 * wget(1) that asks before it trusts. busybox's own TLS checks no certificate, and wget takes it for https:// and ftps:// wherever
 * there is no program openssl, with a note and nothing more. And where http_proxy is set, it asks the proxy for an https:// address
 * without any TLS. Here both end the transfer, unless --no-check-certificate is given.
 *
 * The linker puts these in the place of both functions (ld(1), --wrap). UNCHECKED is the text of that note.
 */
#include <stdlib.h>
#include <string.h>

int __real_wget_main(int argc, char **argv);
void __real_bb_simple_error_msg(const char *message);
_Noreturn void bb_simple_error_msg_and_die(const char *message);

#define HINT "; hint: --no-check-certificate does it anyway"

/* wget says this before each handshake that will check nothing; with --no-check-certificate it says nothing. */
void __wrap_bb_simple_error_msg(const char *message)
{
	if (strcmp(message, UNCHECKED) == 0)
		bb_simple_error_msg_and_die("the server's certificate cannot be checked: there is no program openssl" HINT);
	__real_bb_simple_error_msg(message);
}

static int ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), most = strlen(end);

	return length >= most && strcmp(text + length - most, end) == 0;
}

/* Whether an argument, with the next one where there is one, turns proxies off. */
static int is_without_proxy(const char *argument, const char *next)
{
	int is_short = argument[0] == '-' && argument[1] != '-';

	if (strcmp(argument, "--proxy=off") == 0 || (is_short && ends_with(argument, "Yoff")))
		return 1;
	return next && strcmp(next, "off") == 0 && (strcmp(argument, "--proxy") == 0 || (is_short && ends_with(argument, "Y")));
}

/* Whether the proxy of this variable would be asked for an address that begins so. */
static int is_sent_in_the_clear(char **argv, const char *begin, const char *variable)
{
	const char *proxy = getenv(variable);
	int addresses = 0;

	if (!proxy || !*proxy)
		return 0;
	for (; *argv; argv++) {
		if (strcmp(*argv, "--no-check-certificate") == 0 || is_without_proxy(argv[0], argv[1]))
			return 0;
		addresses += strncmp(*argv, begin, strlen(begin)) == 0;
	}
	return addresses;
}

int __wrap_wget_main(int argc, char **argv)
{
	if (is_sent_in_the_clear(argv, "https://", "http_proxy") || is_sent_in_the_clear(argv, "ftps://", "ftp_proxy"))
		bb_simple_error_msg_and_die("the proxy would be asked without TLS; hint: -Y off asks the server itself, --no-check-certificate does it anyway");
	return __real_wget_main(argc, argv);
}
