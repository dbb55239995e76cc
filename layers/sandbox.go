package layers

// MaxExposure is how much a service may leave open that faces the network or is
// ours, in the terms of "systemd-analyze security": "OK" begins below 5.0, and
// 3.0 leaves no more than these programs need.
const MaxExposure = 3.0

// Sandbox begins the drop-in of a service that needs no device, no home, no
// network of IP and nothing of the kernel but ordinary system calls
// (systemd.exec(5)). The service's own lines follow: its capabilities, where it
// writes, its address families.
const Sandbox = `[Service]
NoNewPrivileges=yes
UMask=0077
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
IPAddressDeny=any
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
`
