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
ip netns exec client sysctl -w net.ipv4.tcp_orphan_retries=0
ip netns exec client sysctl -w net.ipv4.tcp_fin_timeout=60
ip netns exec server sysctl -w net.ipv4.tcp_orphan_retries=0
ip netns exec server sysctl -w net.ipv4.tcp_fin_timeout=60
ip netns exec client sysctl -w net.ipv4.tcp_retries2=15
ip netns exec client sysctl -w net.ipv4.tcp_rto_max_ms=120000
ip netns exec server iptables -t filter -A INPUT -p tcp --dport 8080 --tcp-flags FIN FIN -j DROP
ip netns exec server python3 -m http.server --bind 10.99.0.2 8080 &
ip netns exec client tcpdump -i eth0 -w client.pcap tcp &
ip netns exec server tcpdump -i eth0 -w server.pcap tcp &
sleep 1 # until both captures listen
ip netns exec server python3 -c 'import socket, time; c = socket.create_server(("10.99.0.2", 8090)).accept()[0]; time.sleep(86400)' &
sleep 1 # until it listens
ip netns exec client python3 -c 'import os, socket, time; s = socket.socket(); s.connect(("10.99.0.2", 8090)); os.system("ip netns exec server iptables -A INPUT -p tcp --dport 8090 --tcp-flags FIN FIN -j DROP"); time.sleep(0.4); s.close(); time.sleep(86400)' &
for i in $(seq 1200); do ip netns exec client ss -Htano dport = 8090; ip netns exec server ss -Htano sport = 8090; echo; sleep 0.1; done # their states, with timers
kill %4 %5
ip netns exec server iptables -t filter -vnL INPUT
kill %1 %2 %3; wait
ip netns delete client && ip netns delete server
