/* hello PORT: answers every HTTP request with the machine's name, over IPv4 and IPv6. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void answer(int client) {
    char request[4096], name[65] = "", text[256];
    /* A client that sends nothing must not keep the others waiting. */
    struct timeval limit = { .tv_sec = 5 };
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (read(client, request, sizeof request) <= 0)
        return;
    gethostname(name, sizeof name - 1);
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\nHello from %s\n",
                          strlen(name) + strlen("Hello from \n"), name);
    send(client, text, length, MSG_NOSIGNAL);
}

int main(int count, char **words) {
    int port = count > 1 ? atoi(words[1]) : 8080, yes = 1, no = 0;
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no); /* IPv4 as well. */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("hello: cannot listen"); /* init keeps it in the service's log, and starts the program again. */
        return 1;
    }
    printf("listening on port %d\n", port);
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0) {
            answer(client);
            close(client);
        }
    }
}
