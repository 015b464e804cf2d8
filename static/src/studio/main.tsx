import { render } from 'preact';
import '../ui/base.css';
import './studio.css';
import { designIdOf, Studio } from './studio';
import { Fault } from '../ui/fault';

const id = designIdOf(window.location.pathname);
render(
  id === null ? (
    <Fault title="There is no such design" error={new Error('The address names no design. Go back to your designs and open one from there.')}>
      <a class="button" href="/">
        All designs
      </a>
    </Fault>
  ) : (
    <Studio id={id} />
  ),
  document.getElementById('app')!,
);
