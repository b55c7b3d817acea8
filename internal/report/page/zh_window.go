package page

// zhWindow is what the experiments about windows and acknowledgements say.
var zhWindow = []message{
	{"the receiver stops reading: its window closes, and the sender asks when it may go on", "接收端不再读取：窗口关闭，发送端询问何时可以继续"},
	{"The receiver's program reads no more, its buffer is full, and it says so: window 0. How does the sender learn that it may go on, if the one packet that would tell it can be lost? How often does it ask, for how long, and what ends the connection: a peer that is gone, or one that only does not read?",
		"接收端的程序不再读取，缓冲区满了，它如实相告：窗口为 0。如果唯一能通知的那个报文会丢失，发送端怎么知道可以继续？它多久问一次，问多长时间？什么会终结连接：已经消失的对端，还是仅仅不读取的对端？"},

	{"window while nobody reads", "无人读取时的窗口"}, {"open", "打开"}, {"%d, then %d", "先 {1}，后 {2}"}, {"0, then %d", "先 0，后 {1}"},
	{"no acknowledgement has a window of 0", "没有哪个确认的窗口是 0"}, {"packet %d answers a probe with another window", "报文 {1} 以别的窗口应答了探测"},
	{"the window opened by another size than the segment that was read", "窗口打开的大小与读走的报文段不同"},
	{"timer by the kernel's own account", "内核自己所说的定时器"}, {"probe", "窗口探测"}, {"the window did not close", "窗口没有关闭"}, {"at %s another timer was armed", "{1} 时启用的是别的定时器"},
	{"no look fell into the time of the closed window", "窗口关闭期间没有采样"},
	{"window probes counted", "计数的窗口探测"}, {"the kernel's counters were not read", "没有读取内核的计数器"},
	{"TcpExtTCPWinProbe grew by another number than there are probes in the captures", "TcpExtTCPWinProbe 的增量与抓包中的探测数不同"},

	{"the program never set TCP_USER_TIMEOUT", "程序从未设置 TCP_USER_TIMEOUT"},
	{"nothing answered the window probes", "没有谁应答窗口探测"}, {"the server's program never read", "服务器的程序从未读取"}, {"the server was there and answered", "服务器在，并且作了应答"},

	{"The client wrote, and the window did not close.", "客户端写了数据，而窗口没有关闭。"},
	{"The client wrote two segments of %d bytes. The first one filled the server's buffer: the acknowledgement says that it came, and that nothing more may be sent (window 0).",
		"客户端写了两个各 {1} 字节的报文段。第一个填满了服务器的缓冲区：确认说它到了，并且不得再发（窗口为 0）。"},
	{"At %s the server's program read. Its kernel told of the open window by itself (%d bytes), without waiting for the next probe.", "{1} 时服务器的程序读取了。它的内核主动告知窗口已打开（{2} 字节），不等下一个探测。"},
	{"That acknowledgement is the last that the server has a reason to send, and the next one could be lost. So the client's kernel asked by itself, once, %s later: with an empty packet whose number lies before the window.",
		"服务器有理由发送的确认到此为止，而下一个可能丢失。所以客户端内核自己去问了一次，在 {1} 之后：用一个序号落在窗口之前的空报文。"},
	{"That acknowledgement is the last that the server has a reason to send, and the next one could be lost. So the client's kernel asked by itself, %d times, first %s later and at last %s apart: with empty packets whose number lies before the window.",
		"服务器有理由发送的确认到此为止，而下一个可能丢失。所以客户端内核自己去问了 {1} 次，第一次在 {2} 之后，最后两次相隔 {3}：用序号落在窗口之前的空报文。"},
	{"Every one of them reached the server's link, where its capture saw it, and died in the server's INPUT chain.", "它们个个都到了服务器的链路，那里的抓包看到了它们，然后死在服务器的 INPUT 链。"},
	{"The server's kernel answered each of them at once: window 0. Its program did not notice.", "服务器的内核每次都立即应答：窗口为 0。它的程序毫无察觉。"},
	{"The server's kernel answered %d of them at once, with window 0, and left out %d: it answers numbers outside its window no more often than tcp_invalid_ratelimit allows. Its program did not notice.",
		"服务器的内核立即应答了其中 {1} 个，窗口为 0，略过了 {2} 个：对窗口之外的序号，它应答的频率不超过 tcp_invalid_ratelimit 所许。它的程序毫无察觉。"},
	{"At %s the client's read() returned %s, though the server was there and answered: TCP_USER_TIMEOUT asks for progress, and an open connection that cannot send makes none.",
		"{1} 时客户端的 read() 返回 {2}，尽管服务器在，也应答了：TCP_USER_TIMEOUT 要的是进展，而发不出数据的连接没有进展。"},
	{"At %s the client's read() returned %s: too many probes were left without an answer. Nothing is sent at the end.", "{1} 时客户端的 read() 返回 {2}：太多的探测没有得到应答。终结时什么也不发。"},
	{"The segment that had waited went at once, and at %s both ends closed the connection as if nothing had been.", "等待中的报文段立即发出，{1} 时两端关闭了连接，仿佛什么也没发生过。"},
	{"At %s the connection was as before: as long as the probes are answered they go on, with no end.", "{1} 时连接依然如故：只要探测有应答，就一直探测下去，没有尽头。"},
	{"When the server's program read at last, its kernel told of the open window, and got a reset: there was no connection any more.", "服务器的程序终于读取时，它的内核告知窗口已打开，得到的却是复位：连接已经不在了。"},
}
