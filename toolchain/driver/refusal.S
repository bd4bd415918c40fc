// Makes a link stop with a message of ours. The linker reports two definitions of one symbol as soon as it has read all
// files, before anything else could fail, and by the symbol's name: that is the message. An archive has both parts; the
// first is linked by whoever needs NEEDED, and needs the second.
#if defined(FIRST)
	.globl	NEEDED, refused, MESSAGE
	.hidden	NEEDED, refused
	.set	NEEDED, 1
	.set	MESSAGE, 1
#elif defined(SECOND)
	.globl	refused, MESSAGE
	.hidden	refused
	.set	refused, 2
	.set	MESSAGE, 2
#else // What needs it.
	.globl	NEEDED
	.hidden	NEEDED
#endif
	.section .note.GNU-stack,"",%progbits
