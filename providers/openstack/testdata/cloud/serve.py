"""Runs one OpenStack service in the foreground: serve.py SERVICE DIR PORT

The code is Debian's python3-keystone, python3-glance, python3-neutron,
python3-placement, python3-nova, python3-cinder, python3-gnocchi and python3-aodh, as
it is. DIR has the service's configuration, SERVICE.conf, and gets its database. Nova's
four programs run as one process, and cinder's and aodh's three: the message bus inside
of it, "fake://", needs no broker.
"""

import grp
import os
import pwd
import socketserver
import sqlite3
import sys
import threading
import traceback
import wsgiref.simple_server

DATABASES = {
    "keystone": ["keystone"], "glance": ["glance"], "neutron": ["neutron"],
    "placement": ["placement"], "cinder": ["cinder"],
    "nova": ["nova-api", "nova-cell0", "nova-cell1"], "gnocchi": [], "aodh": ["aodh"],
}


def listen(app, port):
    """Serves an application: a thread per connection, for some clients open more
    than they use, and one request at a time, for SQLite has one writer."""
    turn = threading.Lock()

    def one(environ, start_response):
        with turn:
            return list(app(environ, start_response))

    class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
        daemon_threads = True
        request_queue_size = 64

    class Handler(wsgiref.simple_server.WSGIRequestHandler):
        def address_string(self):
            return self.client_address[0]

    wsgiref.simple_server.make_server(
        "127.0.0.1", port, one, Server, Handler).serve_forever()


def program(main, *argv):
    """Runs a program to its end, in a process of its own: what it does to the
    configuration stays there."""
    pid = os.fork()
    if pid == 0:
        sys.argv = list(argv)
        try:
            status = main() or 0
        except SystemExit as e:
            status = e.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        os._exit(status if isinstance(status, int) else 1)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("%s failed" % " ".join(argv))


def keystone(directory, conf, port):
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = conf
    for name in ("fernet", "credential"):
        os.makedirs(os.path.join(directory, name), mode=0o700)
    url = f"http://127.0.0.1:{port}/v3"
    owner = ["--keystone-user", pwd.getpwuid(os.geteuid()).pw_name,
             "--keystone-group", grp.getgrgid(os.getegid()).gr_name]
    from keystone.cmd import cli
    for command in (
            ["db_sync"], ["fernet_setup"] + owner, ["credential_setup"] + owner,
            ["bootstrap", "--bootstrap-password", "admin-password",
             "--bootstrap-public-url", url, "--bootstrap-region-id", "here"]):
        argv = ["keystone-manage", "--config-file", conf] + command
        program(lambda: cli.main(argv), *argv)
    sys.argv = ["keystone"]
    from keystone.server import wsgi
    listen(wsgi.initialize_public_application(), port)


def glance(directory, conf, port):
    def sync():
        from glance.cmd import manage
        return manage.main()

    program(sync, "glance-manage", "--config-file", conf, "db", "sync")
    import glance.cmd.api
    sys.argv = ["glance-api", "--config-file", conf]
    glance.cmd.api.main()


def neutron(directory, conf, port):
    def sync():
        # neutron-db-manage's migrations do not run on SQLite; the models make the
        # same tables.
        import sqlalchemy
        from neutron.db.migration.models import head
        database = f"sqlite:///{directory}/neutron.db"
        head.get_metadata().create_all(sqlalchemy.create_engine(database))

    program(sync, "tables")

    # The driver that writes down what it would do binds no port, and nova starts no
    # server on one that is not bound.
    from neutron.tests.unit.plugins.ml2.drivers import mechanism_logger

    def bind_port(self, context):
        context.set_binding(context.segments_to_bind[0]["id"], "other", {})

    mechanism_logger.LoggerMechanismDriver.bind_port = bind_port
    from neutron.cmd.eventlet import server
    sys.argv = ["neutron-server", "--config-file", conf]
    server.main()


def placement(directory, conf, port):
    os.environ["OS_PLACEMENT_CONFIG_DIR"] = directory
    from placement import wsgi
    listen(wsgi.init_application(), port)


def nova(directory, conf, port):
    import nova.monkey_patch  # noqa: F401, before all others
    import eventlet
    from nova import config, objects, service
    from nova.cmd import manage
    import nova.conf
    import nova.privsep
    from oslo_log import log
    import os_vif
    config.parse_args(["nova", "--config-file", conf])
    log.setup(nova.conf.CONF, "nova")
    objects.register_all()
    os_vif.initialize()
    database = nova.conf.CONF.database.connection
    manage.ApiDbCommands().sync()
    cells = manage.CellV2Commands()
    cells.map_cell0(database.replace("cell1", "cell0"))
    manage.DbCommands().sync()
    cells.create_cell(name="cell1", database_connection=database,
                      transport_url="fake://")
    for name in ("conductor", "scheduler", "compute"):
        service.Service.create(binary="nova-" + name, topic=name).start()
    cells.discover_hosts()
    service.WSGIService("osapi_compute").start()
    while True:
        eventlet.sleep(3600)


def cinder(directory, conf, port):
    import eventlet
    eventlet.monkey_patch()
    from cinder import coordination, objects, rpc, service, utils, version
    from cinder.cmd import volume  # noqa: F401, registers options
    from cinder.common import config
    from cinder.db import migration
    from cinder.tests import fake_driver
    from oslo_config import cfg
    from oslo_log import log
    objects.register_all()
    cfg.CONF(["--config-file", conf], project="cinder",
             version=version.version_string())
    config.set_middleware_defaults()
    log.setup(cfg.CONF, "cinder")
    utils.monkey_patch()
    migration.db_sync()
    rpc.init(cfg.CONF)
    coordination.COORDINATOR.start()
    scheduler = service.Service.create(binary="cinder-scheduler")
    storage = service.Service.create(
        binary="cinder-volume", topic="cinder-volume", host="keeper@paper",
        service_name="paper")
    # Its volumes are files that nobody can attach.
    fake_driver.FakeLoggingVolumeDriver.local_path = (
        lambda self, volume: os.path.join(directory, "volumes", volume.name))
    eventlet.spawn(scheduler.start)
    storage.start()
    service.WSGIService("osapi_volume").start()
    while True:
        eventlet.sleep(3600)


def gnocchi(directory, conf, port):
    def upgrade():
        from gnocchi.cli import manage
        return manage.upgrade()

    program(upgrade, "gnocchi-upgrade", "--config-file", conf, "--sacks-number", "1")
    sys.argv = ["gnocchi-api", "--config-file", conf]
    from gnocchi.cli import api
    listen(api.wsgi(), port)


def aodh(directory, conf, port):
    from aodh import evaluator, notifier, service, storage
    from aodh.api import app
    config = service.prepare_service(argv=["--config-file", conf])
    storage.get_connection_from_config(config).upgrade()
    # Each works in a thread of its own from here on.
    notifier.AlarmNotifierService(0, config)
    evaluator.AlarmEvaluationService(0, config)
    listen(app.load_app(config), port)


if __name__ == "__main__":
    name, directory, port = sys.argv[1:]
    for database in DATABASES[name]:
        # Readers and the writer do not wait for each other.
        sqlite3.connect(os.path.join(directory, database + ".db")).execute(
            "PRAGMA journal_mode=WAL")
    globals()[name](directory, os.path.join(directory, name + ".conf"), int(port))
