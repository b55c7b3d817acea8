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
ip netns exec client sysctl -w net.ipv4.tcp_retries2=5
ip netns exec client sysctl -w net.ipv4.tcp_rto_max_ms=120000
ip netns exec server python3 -m http.server --bind 10.99.0.2 8080 &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec server ip route change 10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.2 initrwnd 1 advmss 512
ip netns exec server python3 -c 'import socket, time; l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1152); l.bind(("10.99.0.2", 8090)); l.listen(); c = l.accept()[0]; time.sleep(86400)' &
sleep 1 # until it listens
ip netns exec client python3 -c 'import os, socket, time; s = socket.socket(); s.connect(("10.99.0.2", 8090)); os.system("ip netns exec server iptables -A INPUT -s 10.99.0.1 -p tcp --tcp-flags SYN,ACK ACK -m length --length 0:99 -j DROP"); time.sleep(0.5); s.send(bytes(1000)); print(s.recv(1))'
ip netns exec server ss -tn # what the server believes
kill %4
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
