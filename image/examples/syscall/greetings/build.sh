$CC -Os -Wall -Wextra -o greetings greetings.c
install -D greetings "$DESTDIR/usr/bin/greetings"
