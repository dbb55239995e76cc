package layers

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
