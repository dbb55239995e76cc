package ssh

import (
	"fmt"
	"strings"

	"ingot/layers/admin"
)

// config is the whole sshd_config. It includes nothing, so that no package can
// add to it, and drops what Debian's has (AcceptEnv, X11Forwarding yes).
// Whoever is in users must be fit for the file: AllowUsers takes patterns.
func (l Layer) config(users []string) string {
	return fmt.Sprintf(`# sshd of an Ingot appliance. ssh.socket says where it is reached. Nothing is
# included, so this is all there is.

HostKey %[1]s
AuthorizedKeysFile %[2]s/%%u
# Authorities of this server, when it has some: a certificate must name the user.
TrustedUserCAKeys %[6]s

# Who.
AllowUsers %[3]s
PermitRootLogin no

# How: with a key, and nothing else.
AuthenticationMethods publickey
PubkeyAuthentication yes
%[7]sPasswordAuthentication no
KbdInteractiveAuthentication no
HostbasedAuthentication no
GSSAPIAuthentication no
PermitEmptyPasswords no
MaxAuthTries %[4]d
LoginGraceTime 30
MaxStartups 10:30:60
MaxSessions 2
# Who opens connections and does not log in, one IPv6 customer being a /64: five
# at once, and after a few in a row none for a while.
PerSourceMaxStartups 5
PerSourceNetBlockSize 32:64
PerSourcePenalties crash:90s authfail:5s noauth:1s grace-exceeded:20s min:15s max:600s
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

Compression no

# A vanished client is noticed after 2 × 300 s, by messages inside the
# encrypted connection: TCP's own can be forged.
ClientAliveInterval 300
ClientAliveCountMax 2
TCPKeepAlive no

# Which key logged in is in the journal.
LogLevel VERBOSE
UseDNS no
PrintMotd no

%[8]sRequiredRSASize %[5]d
`, HostKey, AuthorizedKeysDir, strings.Join(users, " "), l.maxAuthTries(), admin.MinRSABits, UserCAPath, l.pubkeyOptions(), l.algorithmLines())
}

// pubkeyOptions asks tokens for the PIN or the fingerprint, not for a touch
// alone. Keys that are in no token are not asked.
func (l Layer) pubkeyOptions() string {
	if l.Options.VerifyRequired {
		return "PubkeyAuthOptions verify-required\n"
	}
	return ""
}
