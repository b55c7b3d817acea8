package page

// zhFIN is what exp8 says: closes of which a packet is lost.
var zhFIN = []message{
	{"a packet of the close is lost: what the kernel does for a connection that no program has any more", "关闭过程中丢了一个报文：内核为一个已无程序拥有的连接做些什么"},
	{"Both programs have called close(), and each of them believes that this was all. What does the kernel repeat on their behalf, how long, in which state, who remembers the connection at the end, and for how long when nothing was lost at all?",
		"两端的程序都调用了 close()，都以为这就完了。内核替它们重传什么，持续多久，处于什么状态？最后谁还记得这个连接？如果什么也没丢，又会记多久？"},
	{"the socket is gone", "套接字消失"}, {"%s: its socket is gone, last seen at %s", "{1}：套接字已消失，最后一次看到在 {2}"},
	{"TCP FIN to :%d", "发往 :{1} 的 TCP FIN"}, {"TCP FIN from :%d", "来自 :{1} 的 TCP FIN"},
	{"TCP without SYN, FIN or RST to :%d", "发往 :{1}、不带 SYN、FIN、RST 的 TCP"}, {"TCP without SYN, FIN or RST from :%d", "来自 :{1}、不带 SYN、FIN、RST 的 TCP"},

	{"same FIN each time, %s", "每次都是同一个 FIN，{1}"}, {"another segment", "另一个报文段"}, {"packet %d carries something else", "报文 {1} 带的是别的内容"},
	{"1 sequence number, no data", "1 个序列号，无数据"},
	{"the end of its FIN is a time, %s", "它的 FIN 终止于一段时间，{1}"}, {"at the ceiling of the wait", "在等待时间的上限处"}, {"no repeat by this timer", "该定时器没有重传过"},
	{"the socket was still there", "套接字还在"}, {"resets", "复位"},
	{"a socket that gives up tells nobody; a reset answers what nobody knows", "放弃的套接字不通知任何人；复位只用来应答无人认识的报文"},
	{"%s timer, %s", "{1} 定时器，{2}"}, {"no packet before it", "此前没有报文"}, {"it counts from the packet that brought the socket there", "从把套接字带到该状态的报文算起"},
	{"the kernel armed a shorter one", "内核设的定时器更短"}, {"the kernel armed a longer one", "内核设的定时器更长"},
	{"the machine stalled while it was looked at", "查看它时机器停顿了"},
	{"what is lost is: %s", "丢失的是：{1}"}, {"who closes is: %s", "关闭的是：{1}"}, {"the client's program called %s()", "客户端程序调用了 {1}()"},

	{"No capture shows a FIN of the client's.", "两端的抓包都没有客户端的 FIN。"},
	{"%s after its first packet the client's program was done with the connection: a FIN went out.", "第一个报文之后 {1}，客户端程序用完了连接：发出了一个 FIN。"},
	{"%s after that the server's program closed, too.", "又过了 {1}，服务器程序也关闭了。"},
	{"The client's program had kept its socket, and learnt %s from read() after %s.", "客户端程序保留着套接字，{2} 之后从 read() 得知 {1}。"},
	{"The client's program had kept its socket and waited in read() to the end: nothing came, and nothing will.", "客户端程序保留着套接字，一直在 read() 里等到最后：什么也没来，也不会再来。"},
	{"The client's program had kept its socket, and read() told it of the server's close after %s.", "客户端程序保留着套接字，{1} 之后 read() 告诉它服务器已关闭。"},
	{"The %s's FIN reached the link of the other end and died behind its capture, each time.", "{1}的 FIN 每次都到达了对端的链路，并死在其抓包点之后。"},
	{"The %s's kernel sent that FIN again, %s. The first wait was %s, the last one %s.", "{1}的内核重发了这个 FIN，共{2}。第一次等待 {3}，最后一次 {4}。"},
	{"The %s acknowledged each repeat at once, %s, and all of that was lost.", "{1}对每次重传都立即确认，共{2}，全都丢了。"},
	{"The %s acknowledged each repeat at once, %s.", "{1}对每次重传都立即确认，共{2}。"},
	{"The %s answered with a reset: there it knew nothing of the connection any more.", "{1}以复位应答：它那里已经不认识这个连接了。"},
	{"When the run ended, the %s's socket was still there, in %s. Nothing that was on its way would have changed that.", "运行结束时{1}的套接字还在，处于 {2}。路上没有什么能改变这一点。"},
	{"The %s was left with TIME-WAIT: it was last looked at in it %s after it was first seen there, and then it was gone.", "{1}留下了 TIME-WAIT：从首次看到它起 {2} 之后，它消失了。"},
	{"The %s waited in FIN-WAIT-2 for a FIN that never came; %s after that state was first seen its kernel forgot the connection, without a packet.",
		"{1}在 FIN-WAIT-2 等待一个始终没来的 FIN；从首次看到该状态起 {2} 之后，内核忘掉了这个连接，没有发任何报文。"},
	{"The %s's last state was %s. By %s it was gone: no packet says so, and the other end was not told.", "{1}的最后一个状态是 {2}。到 {3} 它已消失：没有报文说明这一点，对端也没有得到通知。"},
	{"The %s's socket was gone by %s.", "到 {2}，{1}的套接字已消失。"},
}
