package ssh

import (
	"fmt"
	"strings"
)

// algorithm is a line of sshd_config.
type algorithm struct{ keyword, names string }

// algorithms are those of ssh-audit's policy for a hardened OpenSSH (its 3.3.0
// prints no warning about them, with Debian 13's OpenSSH 10.0) and of its guide
// for Debian 13, less what the other side never needs:
//   - no finite-field Diffie-Hellman, which costs the server most (CVE-2002-20001)
//   - AES-GCM alone: every client since OpenSSH 6.2 has it, and the Terrapin
//     attack (CVE-2023-48795) needs ChaCha20 or a MAC of its own. The MACs are
//     never used then and are named in case.
//   - one host key, ed25519
func (l Layer) algorithms() []algorithm {
	return []algorithm{
		{"KexAlgorithms", "mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org"},
		{"Ciphers", "aes256-gcm@openssh.com,aes128-gcm@openssh.com"},
		{"MACs", "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com"},
		{"HostKeyAlgorithms", "ssh-ed25519"},
		{"CASignatureAlgorithms", caAlgorithms},
		{"PubkeyAcceptedAlgorithms", l.pubkeyAlgorithms()},
	}
}

// caAlgorithms leaves out the NIST curves: an authority is made for this.
const caAlgorithms = "ssh-ed25519,sk-ssh-ed25519@openssh.com,rsa-sha2-512,rsa-sha2-256"

// Algorithms of people's keys: those in FIDO2 tokens, and the others. Each
// stands for its certificates too. The NIST curves are for keys that live in a
// TPM or a telephone, which know no others.
const (
	tokenAlgorithms = "sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"
	plainAlgorithms = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com"
)

func (l Layer) pubkeyAlgorithms() string {
	if l.Options.SecurityKeysOnly {
		return tokenAlgorithms
	}
	return tokenAlgorithms + "," + plainAlgorithms
}

func (l Layer) algorithmLines() string {
	var b strings.Builder
	for _, a := range l.algorithms() {
		fmt.Fprintf(&b, "%s %s\n", a.keyword, a.names)
	}
	return b.String()
}
