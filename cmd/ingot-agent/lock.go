package main

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// lockNetwork lets nothing into this network namespace and nothing out of it
// but connections from here to TCP port 80 of the metadata addresses. It comes
// before the first card, so there is no moment without it. In nft's words:
//
//	table ip ingot {
//		chain input  { type filter hook input priority filter; policy drop
//			ip saddr ADDRESS tcp sport 80 ct state established accept }
//		chain output { type filter hook output priority filter; policy drop
//			ip daddr ADDRESS tcp dport 80 accept }
//	}
//	table ip6 ingot { chain input { … drop }  chain output { … drop } }
func lockNetwork() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	input, output := dropping(c, nftables.TableFamilyIPv4)
	dropping(c, nftables.TableFamilyIPv6)
	for _, host := range []string{metadataHost, scalewayHost} {
		address := netip.MustParseAddr(host)
		c.AddRule(&nftables.Rule{Table: input.Table, Chain: input,
			Exprs: append(httpOf(address, ipSource, tcpSource), append(established(), accept)...)})
		c.AddRule(&nftables.Rule{Table: output.Table, Chain: output,
			Exprs: append(httpOf(address, ipDestination, tcpDestination), accept)})
	}
	return c.Flush()
}

// dropping makes a family's chains for what this machine receives and sends;
// their policy is drop.
func dropping(c *nftables.Conn, family nftables.TableFamily) (input, output *nftables.Chain) {
	policy := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: family, Name: "ingot"})
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return c.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &policy,
		})
	}
	return chain("input", nftables.ChainHookInput), chain("output", nftables.ChainHookOutput)
}

// Offsets in bytes of the addresses in an IPv4 header (RFC 791, 3.1) and of the
// ports in a TCP header (RFC 9293, 3.1).
const (
	ipSource       = 12
	ipDestination  = 16
	tcpSource      = 0
	tcpDestination = 2
)

const httpPort = 80

var accept = &expr.Verdict{Kind: expr.VerdictAccept}

// httpOf matches TCP with an address and port 80 at these places of the headers.
func httpOf(address netip.Addr, ipOffset, tcpOffset uint32) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ipOffset, Len: 4},
		equals(address.AsSlice()),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		equals([]byte{unix.IPPROTO_TCP}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: tcpOffset, Len: 2},
		equals(binaryutil.BigEndian.PutUint16(httpPort)),
	}
}

// established matches what belongs to a connection that was made from here.
func established() []expr.Any {
	state := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED)
	none := []byte{0, 0, 0, 0}
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: state, Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: none},
	}
}

func equals(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }
