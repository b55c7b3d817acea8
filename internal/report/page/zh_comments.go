package page

// zhComments are the sentences of the comments in the capture files, without their full stops.
var zhComments = []message{
	{"Time counts from here", "时间从这里算起"}, {"Expected %.3f s, seen %.3f s", "预期 {1} s，实测 {2} s"}, {"Nobody expected it; seen %.3f s", "没有人预期它；实测 {1} s"},
	{"Dropped by %s, after this capture point", "在此抓包点之后被{1} 丢弃"}, {"Not seen at the %s", "{1}没有看到它"}, {"Sent again by the kernel's %s", "内核因 {1} 而重发"},
	{"Thrown away in %s: %s", "在 {1} 中被丢弃：{2}"},
	{"%s, repetition %d of %d", "{1}，第 {2} 次重复，共 {3} 次"}, {"%s, repetition %d", "{1}，第 {2} 次重复"}, {"%s (%s)", "{1}（{2}）"},
	{"%s, repetition %d of %d (%s)", "{1}，第 {2} 次重复，共 {3} 次（{4}）"}, {"%s, repetition %d (%s)", "{1}，第 {2} 次重复（{3}）"},
	{"TCP SYN to :%s", "发往 :{1} 的 TCP SYN"}, {"TCP SYN-ACK from :%s", "来自 :{1} 的 TCP SYN-ACK"}, {"TCP with ACK to :%s", "发往 :{1} 的带 ACK 的 TCP"},
	{"everything from %s", "来自 {1} 的一切"}, {"TCP data to :%d", "发往 :{1} 的 TCP 数据"}, {"TCP data to :%d, number %s", "发往 :{1} 的第 {2} 个 TCP 数据报文"},
	{"Verdict: %s", "结论：{1}"}, {"Fault: %s %s %s drops %s", "故障：{1} {2} {3} 丢弃 {4}"},

	// Why the kernel sent it again, and what the analyser has to say of a packet.
	{"fast retransmit", "快速重传"}, {"RACK reordering timer", "RACK 乱序定时器"}, {"loss recovery", "丢失恢复"}, {"request timer", "请求定时器"},
	{"answer to a repeated SYN", "对重传 SYN 的应答"}, {"other", "其他机制"},
	{"window %d", "窗口 {1}"}, {"older than the one before", "比前一个旧"}, {"it had these bytes", "它已有这些字节"}, {"says nothing new", "没有新内容"},
	{"answers a number outside the window", "应答窗口外的序号"}, {"answers a RST outside the window", "应答窗口外的 RST"}, {"answers data outside the window", "应答窗口外的数据"},
	{"a stray of another connection", "另一连接的游离报文"}, {"answers a stray SYN", "应答游离的 SYN"}, {"answers SYN again %d", "应答第 {1} 次重传的 SYN"}, {"answers SYN-ACK again", "应答重传的 SYN-ACK"},
	{"a new request: another initial sequence number", "新的请求：初始序列号不同"}, {"Fast Open cookie, %d bytes", "Fast Open cookie，{1} 字节"}, {"asks for a Fast Open cookie", "请求 Fast Open cookie"},
	{"takes %d bytes of the SYN", "收下 SYN 中的 {1} 字节"}, {"takes no data of the SYN", "不收 SYN 中的数据"}, {"fills a gap: late, or the first copy did not pass here", "填补空缺：来迟了，或第一份没有经过这里"},
	{"new data after silence", "沉默之后的新数据"}, {"with the third packet", "与第三个报文同行"}, {"slow start after the retransmission timer", "重传定时器之后的慢启动"}, {"SACK up to %d", "SACK 到 {1}"},
	{"%d duplicate ACKs", "{1} 个重复 ACK"}, {"partial acknowledgement", "部分确认"}, {"after %s", "{1} 之后"}, {"SACK %s", "SACK {1}"}, {"D-SACK %s", "D-SACK {1}"},
}
