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
ip netns exec server sysctl -w net.ipv4.tcp_abort_on_overflow=0
ip netns exec server sysctl -w net.ipv4.tcp_syncookies=1
ip netns exec server sysctl -w net.ipv4.tcp_synack_retries=5
ip netns exec client sysctl -w net.ipv4.tcp_syn_retries=5
ip netns exec client sysctl -w net.ipv4.tcp_syn_linear_timeouts=0
ip netns exec server iptables -t filter -A INPUT -p tcp --sport 40002 --tcp-flags FIN,SYN,RST NONE -m statistic --mode nth --every 1000000 --packet 0 -j DROP
ip netns exec server python3 -m http.server --bind 10.99.0.2 8080 &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec server python3 -c 'import socket, time; l = socket.socket(); l.bind(("10.99.0.2", 8090)); l.listen(1); time.sleep(86400)' &
sleep 1 # until it listens
for from in 40001 40002 40003 40004; do ip netns exec client python3 -c 'import socket, sys; s = socket.socket(); s.bind(("", int(sys.argv[1]))); s.connect(("10.99.0.2", 8090)); print(sys.argv[1], "is connected", flush=True); print(s.recv(1))' $from & sleep 0.1; done
for i in $(seq 70); do ip netns exec server ss -Htan; echo; sleep 1; done # the queue of the listener: how many wait, and how many fit but for one
ip netns exec server nstat -az TcpExtListenOverflows TcpExtListenDrops
kill $(jobs -p)
ip netns exec server iptables -t filter -vnL INPUT
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
