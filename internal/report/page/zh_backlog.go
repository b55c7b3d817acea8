package page

// zhBacklog is what exp9 says: a listener whose queue nobody empties.
var zhBacklog = []message{
	{"Of the connection from the client's port %d. What inet_diag said of the others is in the evidence.", "客户端端口 {1} 的那个连接。inet_diag 对其他连接所说的见证据。"},
	{"a server that does not call accept(): who gets a place in its queue, and who only believes so", "服务器不调用 accept()：谁在它的队列里有位置，谁只是以为有"},
	{"A program listens with a backlog and is too busy to accept. How many connections fit? What becomes of a client whose SYN comes when the queue is full, and of one whose third packet does? Which of them believe that they are connected?",
		"程序以一个 backlog 监听，却忙得来不及 accept。容得下几个连接？队列满时 SYN 才到的客户端会怎样？第三个报文才到的呢？其中哪些以为自己已经连上？"},
	{"first TCP without SYN, FIN or RST from :%d", "来自 :{1} 的第一个不带 SYN、FIN、RST 的 TCP"},
	{"clients that believe they are connected", "以为自己已连上的客户端"}, {"another number of connect() calls returned 0", "返回 0 的 connect() 是另一个数目"},
	{"waiting in the queue, and its limit", "队列中等待的数目及其上限"}, {"%d, limit %d", "{1}，上限 {2}"},
	{"no look found the listener when the queue was full", "队列满时没有一次查看看到监听套接字"}, {"the kernel says otherwise", "内核说的不一样"},
	{"overflows counted", "计入的溢出"},
	{"each SYN and each ACK that finds the queue full is counted once (TcpExtListenOverflows)", "每个遇到队列已满的 SYN 和 ACK 各计一次（TcpExtListenOverflows）"},
	{"the run proves nothing: see the number of packets", "这次运行说明不了什么：见报文数"}, {"connection", "连接"}, {"connect() call", "connect() 调用"},
	{"1 connection", "1 个连接"}, {"%d connections", "{1} 个连接"}, {"1 connect() call", "1 次 connect() 调用"}, {"%d connect() calls", "{1} 次 connect() 调用"},
	{"%s opened with three packets and waited in the listener's queue: nobody called accept().", "{1}以三个报文建立，在监听套接字的队列里等待：没有人调用 accept()。"},
	{"The acknowledgement of the client from port %d was lost once, so its connection was only half open when the queue filled up.", "端口 {1} 的客户端的确认丢了一次，所以队列填满时它的连接还只是半开。"},
	{"The server sent it its SYN-ACK again, %s, by its own timer; the client, connected for its part, acknowledged it.", "服务器按自己的定时器向它重发 SYN-ACK，共{1}；客户端自认为已连上，予以确认。"},
	{"The server never sent it its SYN-ACK again.", "服务器没有再向它发 SYN-ACK。"},
	{"That acknowledgement found the queue full, and the server answered with a RST.", "这个确认遇到队列已满，服务器以 RST 应答。"},
	{"Each of these acknowledgements found the queue full and was ignored.", "这些确认每一个都遇到队列已满，被忽略。"},
	{"The last client's SYN found the queue full and was dropped without a word, %s.", "最后一个客户端的 SYN 遇到队列已满，被不声不响地丢弃，共{1}。"},
	{"%s returned 0.", "{1}返回 0。"}, {"The connect() of the client from port %d returned %s after %s.", "端口 {1} 的客户端的 connect() 在 {3} 之后返回 {2}。"},
	{"One returned %s after %s.", "有一个在 {2} 之后返回 {1}。"},
	{"By %s the server had forgotten the half-open connection.", "到 {1}，服务器已忘掉这个半连接。"},
}
