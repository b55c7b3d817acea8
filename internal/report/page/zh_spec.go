package page

// zhSpec are what is told of an experiment that is written as a file, beside what its author wrote.
var zhSpec = []message{
	{"The captures show %d packets; %d of them never reached the other end's TCP.", "抓包中有 {1} 个报文，其中 {2} 个始终没有到达另一端的 TCP。"},
	{"the sender's alone: it dies between the captures", "只有发送端能：报文死在两个抓包点之间"}, {"router", "路由器"},
	{"netem on both of the router's devices, each holding a frame for half the RTT", "路由器的两个设备上各有 netem，每帧停留半个 RTT"},
	{"Sent again (%s): %d.", "重发（{1}）：{2} 个。"},
	{"After %s the client's call failed with %s.", "{1} 之后，客户端的调用以 {2} 失败。"},
	{"After %s the client's call returned.", "{1} 之后，客户端的调用返回。"},
	{"answers the SYN that arrives, at once", "立即应答到达的 SYN"},
	{"the SYN-ACK has come: %d SYNs lost before", "SYN-ACK 已到：此前丢了 {1} 个 SYN"}, {"the SYN-ACK has come: 1 SYN lost before", "SYN-ACK 已到：此前丢了 1 个 SYN"},
}
