// Checks of a broker with rhea, the AMQP 1.0 client for Node.
//
//     main.js --list                  the names of the checks
//     main.js --queues                the queues they need, one a line: NAME {ARGUMENTS}
//     main.js HOST:PORT [NAME...]     runs all, or those named, or whose names contain NAME
//
// AMQP_WEB=HOST:PORT in the environment is the broker's HTTP listener, for AMQP over WebSocket.
//
// A line for each check, `NAME pass|fail|skip REASON`, then `N passed, N failed`; exit status 1 when
// anything failed.
'use strict';

const { CHECKS, Scene } = require('./scene.js');
require('./transfers.js');
require('./outcomes.js');
require('./flow.js');
require('./values.js');
require('./nodes.js');
require('./reconnect.js');
require('./web.js');

/** One line that says what went wrong and where in the check. */
function reason(error) {
  const stack = (error && error.stack) || '';
  const where = stack.match(/clients\/rhea\/((?!scene|main)\w+\.js:\d+)/);
  const text = String((error && error.message) || error).replace(/\s+/g, ' ');
  return `${where ? `${where[1]}: ` : ''}${text.slice(0, 300)}`;
}

async function run(check, address) {
  const http = process.env.AMQP_WEB;
  if (check.web && !http) return 'skip AMQP_WEB names no HTTP listener';
  const scene = new Scene(address, http);
  let timer;
  const tooLong = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('took too long')), check.seconds * 1000);
  });
  try {
    await Promise.race([check.run(scene), scene.broken, tooLong]);
    return 'pass';
  } catch (error) {
    return `fail ${reason(error)}`;
  } finally {
    clearTimeout(timer);
    await scene.close();
  }
}

function chosen(names) {
  const exact = new Set(CHECKS.map((check) => check.name));
  const wanted = (check) => (name) =>
    name === check.name || (!exact.has(name) && check.name.includes(name));
  return names.length ? CHECKS.filter((check) => names.some(wanted(check))) : CHECKS;
}

async function main([address, ...names]) {
  if (address === '--list') {
    CHECKS.forEach((check) => console.log(check.name));
    return 0;
  }
  if (address === '--queues') {
    for (const { queues } of CHECKS) {
      Object.entries(queues).forEach(([name, options]) =>
        console.log(name, JSON.stringify(options)),
      );
    }
    return 0;
  }
  let passed = 0;
  let failed = 0;
  for (const check of chosen(names)) {
    const outcome = await run(check, address);
    if (outcome === 'pass') passed += 1;
    else if (outcome.startsWith('fail')) failed += 1;
    console.log(check.name, outcome);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed ? 1 : 0;
}

// What a check forgot to wait for is that check's failure, told there; here it must not end the rest.
process.on('unhandledRejection', () => {});
main(process.argv.slice(2)).then((status) => process.exit(status));
