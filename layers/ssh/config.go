package ssh

import (
	"fmt"

	"ingot/layers/admin"
)

// config is the whole sshd_config. It includes nothing, so that no package can
// add to it, and drops what Debian's has (AcceptEnv, X11Forwarding yes).
//
// Algorithms are those that ssh-audit's guide for OpenSSH 10 keeps: hybrid
// post-quantum key exchange first, then X25519; only AEAD ciphers, so the MACs
// are never used and are named for completeness.
func (l Layer) config(user string) string {
	return fmt.Sprintf(`# sshd of an Ingot appliance. It is reached through the tunnel only: ssh.socket
# binds it to the interface. Nothing is included, so this is all there is.

HostKey %[1]s
AuthorizedKeysFile %[2]s/%%u

# Who: one account.
AllowUsers %[3]s
PermitRootLogin no

# How: with a key, and nothing else.
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
HostbasedAuthentication no
GSSAPIAuthentication no
PermitEmptyPasswords no
MaxAuthTries %[4]d
LoginGraceTime 30
MaxStartups 10:30:60
MaxSessions 10
StrictModes yes
# Opens the session with systemd-logind; authentication never asks PAM.
UsePAM yes

# What: a shell and file transfer. DisableForwarding covers all of the
# following; they are written out because each is a promise that is checked.
DisableForwarding yes
AllowTcpForwarding no
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
GatewayPorts no
PermitTunnel no
PermitUserRC no
PermitUserEnvironment no
Subsystem sftp internal-sftp

# A vanished client is noticed after 2 × 300 s, by messages inside the
# encrypted connection: TCP's own can be forged.
ClientAliveInterval 300
ClientAliveCountMax 2
TCPKeepAlive no

# Which key logged in is in the journal.
LogLevel VERBOSE
UseDNS no
PrintMotd no

KexAlgorithms mlkem768x25519-sha256,sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com
HostKeyAlgorithms ssh-ed25519
PubkeyAcceptedAlgorithms ssh-ed25519,sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256
RequiredRSASize %[5]d
`, HostKey, AuthorizedKeysDir, user, l.maxAuthTries(), admin.MinRSABits)
}
