package page

// zhTimeouts is what exp11 says: one table of timeouts.
var zhTimeouts = []message{
	{"one table of timeouts: in each state of a connection, when a program learns that its peer is dead", "一张超时表：在连接的每种状态下，程序何时得知对端已死"},
	{"A peer dies without a word. How long until the program at the other end is told: while it connects, while the connection is idle, while data is in flight, while the window is closed, while it closes? Which sysctl or socket option decides, and in which state does nothing ever tell it?",
		"对端一声不响地死去。另一端的程序要多久才被告知：正在连接时、连接空闲时、数据在途时、窗口关闭时、正在关闭时？由哪个 sysctl 或套接字选项决定？在哪种状态下永远没有谁告诉它？"},
	{"which rows of the table, by number, two or more: 1,2,7, or all", "表中的哪些行，用行号，至少两行：1,2,7，或 all（全部）"},
	{"idle time before the first keepalive probe, 2 to 32767 s", "第一个 keepalive 探测之前的空闲时间，2 到 32767 s"},
	{"how long unacknowledged data is repeated, and how many window probes, 0 to 255", "未确认的数据重传多久，以及窗口探测多少次，0 到 255"},
	{"how long a FIN is repeated that nobody owns, 0 to 255; 0 means 8", "无主的 FIN 重传多久，0 到 255；0 即 8"},
	{"longest wait between two repeats, 1000 to 120000 ms (Linux 6.15 and later)", "两次重传之间最长的等待，1000 到 120000 ms（Linux 6.15 及以后）"},
	{"TCP_KEEPIDLE of the sockets with SO_KEEPALIVE, 2 to 32767 s: overrides --keepalive-time", "设了 SO_KEEPALIVE 的套接字的 TCP_KEEPIDLE，2 到 32767 s：优先于 --keepalive-time"},
	{"TCP_KEEPINTVL of the sockets with SO_KEEPALIVE, 1 to 32767 s: overrides --keepalive-intvl", "设了 SO_KEEPALIVE 的套接字的 TCP_KEEPINTVL，1 到 32767 s：优先于 --keepalive-intvl"},
	{"TCP_KEEPCNT of the sockets with SO_KEEPALIVE, 1 to 127: overrides --keepalive-probes", "设了 SO_KEEPALIVE 的套接字的 TCP_KEEPCNT，1 到 127：优先于 --keepalive-probes"},
	{"TCP_USER_TIMEOUT of the sockets that have it, 1 to 86400000 ms", "设了 TCP_USER_TIMEOUT 的套接字的值，1 到 86400000 ms"},

	{"In one table", "一张表"}, {"when the peer dies", "对端死去时"}, {"what decides", "由什么决定"}, {"time since", "从何时算起"}, {"the SYN", "SYN"},
	{"the last packet heard", "最后听到的报文"}, {"connecting", "正在连接"}, {"connecting, user timeout", "正在连接，有 user timeout"}, {"half-open, at the server", "半开，在服务器端"}, {"idle", "空闲"},
	{"idle, keepalive", "空闲，有 keepalive"}, {"idle, keepalive and user timeout", "空闲，有 keepalive 和 user timeout"},
	{"data in flight", "数据在途"}, {"data in flight, keepalive", "数据在途，有 keepalive"}, {"data in flight, user timeout", "数据在途，有 user timeout"},
	{"window closed, peer dead", "窗口关闭，对端已死"}, {"window closed, peer not reading", "窗口关闭，对端不读取"},
	{"window closed, peer not reading, user timeout", "窗口关闭，对端不读取，有 user timeout"}, {"shut down", "已 shutdown"}, {"closed", "已 close"},
	{"%s … %s s, nothing: the kernel forgets the connection", "{1} … {2} s，什么也没有：内核忘掉这个连接"}, {"nothing: the kernel forgets the connection", "什么也没有：内核忘掉这个连接"},

	{"no packet", "没有报文"}, {"the connection was not made", "连接没有建立"}, {"a program that has closed its socket was told something", "已关闭套接字的程序却被告知了什么"},
	{"still waiting", "仍在等待"}, {"the program was told nothing until the end of the run", "直到运行结束程序什么也没被告知"}, {"nothing for %s", "{1} 内什么也没有"},
	{"a program was told of an end that nothing could know of", "程序被告知了一个谁也不可能知道的终结"}, {"the program was told another error", "程序被告知的是另一个错误"},
	{"see the same event in the schedule", "见时间表中的同一事件"},
	{"%d programs were told of the end of their connections: first the one that was %s, after %s, and last the one that was %s, after %s.",
		"{1} 个程序被告知连接已终结：最先是{2}的那个，在 {3} 之后；最后是{4}的那个，在 {5} 之后。"},
	{"Nobody told these, for as long as they were watched: %s.", "在观察的时间里，没有谁告诉下列这些：{1}。"}, {"%s; %s", "{1}；{2}"}, {"read", "read"}, {"write", "write"}, {"close", "close"},
	{"The program that had closed its socket could not be told: what its kernel repeats is nobody's.", "已关闭套接字的程序无从告知：它的内核所重传的不属于任何程序。"},
}
