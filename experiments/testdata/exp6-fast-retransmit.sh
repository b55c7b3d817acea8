ip netns add client && ip netns add server
ip link add eth0 netns client type veth peer name eth0 netns server
ip netns exec client sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control=reno
ip netns exec client ip address add 10.99.0.1/24 dev eth0
ip netns exec client ip link set lo up
ip netns exec client ip link set eth0 up
ip netns exec client ethtool -K eth0 tso off gso off gro off tx off
ip netns exec server sysctl -w net.ipv6.conf.all.disable_ipv6=1 net.ipv4.tcp_congestion_control=reno
ip netns exec server ip address add 10.99.0.2/24 dev eth0
ip netns exec server ip link set lo up
ip netns exec server ip link set eth0 up
ip netns exec server ethtool -K eth0 tso off gso off gro off tx off
ip netns exec client tc qdisc add dev eth0 root netem delay 50ms # where the kernel has sch_netem
ip netns exec server tc qdisc add dev eth0 root netem delay 50ms # where the kernel has sch_netem
ip netns exec client sysctl -w net.ipv4.tcp_sack=0
ip netns exec client sysctl -w net.ipv4.tcp_recovery=1
ip netns exec client sysctl -w net.ipv4.tcp_early_retrans=3
ip netns exec client sysctl -w net.ipv4.tcp_reordering=3
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8080 -m length --length 100:65535 -m statistic --mode nth --every 1000000 --packet 14 -j DROP
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8080 -m length --length 100:65535 -m statistic --mode nth --every 1000000 --packet 17 -j DROP
ip netns exec server python3 -c 'import select, socket; s = socket.create_server(("10.99.0.2", 8080)); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 20000); c = s.accept()[0]; p = select.poll(); p.register(c, 1); [p.poll() for _ in iter(lambda: c.recv(65536), b"")]' &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec client ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.1 initcwnd 20
ip netns exec client python3 -c 'import socket, time; s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1012); s.connect(("10.99.0.2", 8080)); time.sleep(0.3); s.send(bytes(20000)); time.sleep(2)'
ip netns exec server iptables -t filter -vnL INPUT
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
