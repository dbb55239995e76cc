package config

import (
	"fmt"
	"strings"
)

// Starter is what a new ingot.yaml is made of.
type Starter struct {
	Name       string
	User       string   // of the administrator
	Keys       []string // lines of .pub files
	SigningKey string   // public half of the key that signs verdicts, as in test.keys
	Endpoint   string   // where clients find the server, empty when nobody knows yet
}

// Text is the file. It has no peer yet, which "ingot client add" brings.
func (s Starter) Text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# A server with one open port, of the tunnel. SSH answers in the tunnel only.
# "ingot validate" says what is wrong with this file, docs/layers has every option.
name: %s
base: {suite: trixie}

admin:
  user: %s
  keys: # one line of a .pub file each
`, s.Name, s.User)
	for _, key := range s.Keys {
		fmt.Fprintf(&b, "    - %s\n", key)
	}
	b.WriteString(`
layers:
  ssh: {}
  nftables: {}
  # A service that the internet may reach:
  # nftables: {allow: [{port: 443, proto: tcp, why: HTTPS}]}
  sudo: {}
  sysctl: {}
  kernel: {}
  apparmor: {}
  time: {}
  wireguard:
    address: 10.8.0.1/24
`)
	if s.Endpoint != "" {
		fmt.Fprintf(&b, "    endpoint: %s\n", s.Endpoint)
	}
	b.WriteString(`  fail2ban: {}

# Whose verdicts about the image are relied on; the private half is secrets/test.key.
test:
  keys:
`)
	fmt.Fprintf(&b, "    - %s\n", s.SigningKey)
	return []byte(b.String())
}
