package experiments

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// Script is the experiment as a person would do it by hand, one shell command a line. Unlike tcplab it needs names for the namespaces,
// so its last lines take them away again. tcplab itself never runs it.
func (x *Experiment) Script(p Plan) []string {
	setup := x.Setup(p.Options)
	in := func(host, cmd string) string { return "ip netns exec " + host + " " + cmd }
	s := []string{
		"ip netns add client && ip netns add server",
		"ip link add " + lab.Iface + " netns client type veth peer name " + lab.Iface + " netns server",
	}
	hand := p.byHand()
	addr := map[string]string{"client": hand.client.String(), "server": hand.server.String()}
	disable, nodad := "1", ""
	if hand.ipv6 {
		disable, nodad = "0", " nodad"
	}
	for _, host := range []string{"client", "server"} {
		s = append(s,
			in(host, "sysctl -w net.ipv6.conf.all.disable_ipv6="+disable+" net.ipv4.tcp_congestion_control=reno"),
			in(host, "ip address add "+addr[host]+" dev "+lab.Iface+nodad),
			in(host, "ip link set lo up"),
			in(host, "ip link set "+lab.Iface+" up"),
			in(host, "ethtool -K "+lab.Iface+" tso off gso off gro off tx off"),
		)
	}
	s = append(s, hand.neighbours()...)
	if setup.RTT > 0 {
		client, server := setup.netem()
		s = append(s, in("client", client), in("server", server))
	}
	for _, set := range p.Settings {
		s = append(s, in(set.Host, sysctl.Command(set.Name, set.Value)))
	}
	for _, f := range setup.Faults {
		for _, cmd := range f.Rule.Commands() {
			s = append(s, in(f.Host, cmd))
		}
	}
	var server string
	if x.HandServer != nil {
		server = x.HandServer(p)
	} else {
		server = x.serverCommand(hand, setup.Listen[0])
	}
	s = append(s,
		in("server", server+" &"),
		in("client", "tcpdump -i "+lab.Iface+" -w client.pcap tcp &"),
		in("server", "tcpdump -i "+lab.Iface+" -w server.pcap tcp &"),
		"sleep 1 # until both captures listen",
	)
	if x.ByHand != nil {
		s = append(s, x.ByHand(p)...)
	} else {
		s = append(s, in("client", x.clientCommand(p, hand, setup.Listen[0].Port)))
	}
	for _, f := range setup.Faults {
		s = append(s, in(f.Host, fmt.Sprintf("%s -t %s -vnL %s", f.Rule.Program(), f.Rule.TableName(), f.Rule.Chain)))
	}
	return append(s, "kill %1 %2 %3; wait", "ip netns delete client && ip netns delete server")
}

// netem are the commands that give both ends their half of the RTT, and the way to the server its rate. netem's dice cannot be made to fall as
// those of a run did.
func (s Setup) netem() (client, server string) {
	server = fmt.Sprintf("tc qdisc add dev %s root netem delay %s", lab.Iface, s.RTT/2)
	client = server
	remark := " # where the kernel has sch_netem"
	if s.Link.Rate > 0 {
		client += fmt.Sprintf(" rate %dbit", s.Link.Rate)
	}
	client += remark
	if len(s.Link.Hold)+len(s.Link.Back)+len(s.Link.Behind)+len(s.Link.Flows) > 0 {
		client += "; the link of the run held packets back besides, each for the time that result.json lists, which netem cannot be told"
	}
	return client, server + remark
}

// serverCommand is a server for the client of the script: one for HTTP, which reads what comes too, one that sends back what comes, or one
// that sleeps until all is there.
func (x *Experiment) serverCommand(hand byHand, o lab.ListenOptions) string {
	server := hand.server.Addr()
	if o.Service == lab.Echo {
		set := ""
		if o.FastOpen > 0 {
			set = fmt.Sprintf(" l.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, %d);", o.FastOpen)
		}
		return fmt.Sprintf(`python3 -c 'import socket; l = %s;%s l.bind(("%s", %d)); l.listen()
while c := l.accept()[0]:
    while b := c.recv(65536): c.sendall(b)
    c.close()'`, hand.socket, set, server, o.Port)
	}
	if o.LowWater == 0 {
		return fmt.Sprintf("python3 -m http.server --bind %s %d", server, o.Port)
	}
	return fmt.Sprintf(`python3 -c 'import select, socket; s = %s; s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, %d); `+
		`c = s.accept()[0]; p = select.poll(); p.register(c, 1); [p.poll() for _ in iter(lambda: c.recv(65536), b"")]'`, hand.listener(o.Port), o.LowWater)
}

// clientCommand opens the connection: with curl, or with a line of Python where the plan sets socket options, which curl cannot.
func (x *Experiment) clientCommand(p Plan, hand byHand, port uint16) string {
	var set []string
	for _, q := range x.Params {
		if v, ok := p.Options[q.Flag]; ok && q.SocketOption != "" {
			set = append(set, fmt.Sprintf("s.setsockopt(socket.IPPROTO_TCP, socket.%s, %s)", q.SocketOption, v))
		}
	}
	if len(set) == 0 {
		return "curl -sS " + hand.url(port)
	}
	return fmt.Sprintf(`python3 -c 'import socket; s = %s; %s; s.connect(("%s", %d))'`, hand.socket, strings.Join(set, "; "), hand.server.Addr(), port)
}
